"""Comparison with other libraries, which ``make bench-peers`` installs into its own environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mediatr import Mediator as Mediatr

from cqrs_ddd_core import HandlerRegistry, Mediator, Query
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork

from . import event_sourcing_peers, lock_peers, persistence_peers, repository_peers
from .core import FirstMiddleware, Ping, SecondMiddleware, ThirdMiddleware, handle_ping
from .databases import Databases
from .measuring import Row, repeat_await, run, select_rows


class Ask(Query[int]):
    number: int = 1


class LayeredAsk(Ask):
    """Query with its own type, since the peer registers behaviours by type of message."""


class LayeredPing(Ping): ...


async def handle_ask(query: Ask) -> int:
    return query.number


def build_rows() -> list[Row]:
    """Build the rows; both sides get the same message object, created before.

    The peer has no transactions. A query is the same work on both sides. A command opens and
    commits a unit of work on our side, so its rows have no limit.
    """
    peer = Mediatr()
    for message_type in (Ask, LayeredAsk, Ping, LayeredPing):
        Mediatr.register_handler(_new_handler(message_type))
    for number in range(3):
        Mediatr.register_behavior(_new_behavior(LayeredAsk, number))
        Mediatr.register_behavior(_new_behavior(LayeredPing, number))
    handlers = HandlerRegistry()
    for query_type in (Ask, LayeredAsk):
        handlers.register_query_handler(query_type, handle_ask)
    for command_type in (Ping, LayeredPing):
        handlers.register_command_handler(command_type, handle_ping)
    plain = Mediator(handlers, uow_factory=InMemoryUnitOfWork)
    layered = Mediator(
        handlers,
        uow_factory=InMemoryUnitOfWork,
        middlewares=[FirstMiddleware(), SecondMiddleware(), ThirdMiddleware()],
    )
    question, layered_question = Ask(number=7), LayeredAsk(number=7)
    order, layered_order = Ping(number=7), LayeredPing(number=7)
    return [
        Row(
            "answer a query",
            "mediatr",
            repeat_await(lambda: plain.query(question)),
            repeat_await(lambda: peer.send_async(question)),
            1 / 1.3,
        ),
        Row(
            "answer a query through 3 middlewares",
            "mediatr, 3 behaviours",
            repeat_await(lambda: layered.query(layered_question)),
            repeat_await(lambda: peer.send_async(layered_question)),
            1 / 1.5,
        ),
        Row(
            "send a command, unit of work and all",
            "mediatr, no unit of work",
            repeat_await(lambda: plain.send(order)),
            repeat_await(lambda: peer.send_async(order)),
        ),
        Row(
            "send a command through 3 middlewares, unit of work and all",
            "mediatr, 3 behaviours, no unit of work",
            repeat_await(lambda: layered.send(layered_order)),
            repeat_await(lambda: peer.send_async(layered_order)),
        ),
    ]


def _new_handler(message_type: type[Any]) -> Any:
    async def handle(request: Any) -> Any:
        return request.number

    # The peer reads the class from the annotation.
    handle.__annotations__["request"] = message_type
    return handle


def _new_behavior(message_type: type[Any], number: int) -> Any:
    async def behavior(request: Any, next: Any) -> Any:
        return await next()

    behavior.__annotations__["request"] = message_type
    behavior.__name__ = f"passing_{number}"
    return behavior


def main() -> int:
    with Databases() as databases:
        known = [
            *build_rows(),
            *persistence_peers.build_rows(databases),
            *event_sourcing_peers.build_rows(databases),
            *repository_peers.build_rows(databases),
            *lock_peers.build_rows(databases),
        ]
        over = run(select_rows(known, " ".join(sys.argv[1:])), to=Path(".bench/peers.json"))
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
