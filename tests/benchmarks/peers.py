"""Beside other libraries: ``make bench-peers`` installs them into an environment of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mediatr import Mediator as Mediatr

from cqrs_ddd_core import HandlerRegistry, Mediator, Query
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork

from . import event_sourcing_peers, lock_peers, persistence_peers, repository_peers
from .core import Passing, PassingAsWell, PassingToo, Ping, ping
from .databases import Databases
from .measuring import Row, awaited, named, run


class Ask(Query[int]):
    number: int = 1


class LayeredAsk(Ask):
    """The peer keeps behaviours by type of message, so a type of its own has three of them."""


class LayeredPing(Ping): ...


async def ask(query: Ask) -> int:
    return query.number


def rows() -> list[Row]:
    """One message object for both sides, made beforehand.

    The peer knows no transactions. A query is the same work on both sides; a command opens and
    commits a unit of work on ours, which is shown without a limit.
    """
    peer = Mediatr()
    for message_type in (Ask, LayeredAsk, Ping, LayeredPing):
        Mediatr.register_handler(_handler(message_type))
    for number in range(3):
        Mediatr.register_behavior(_behavior(LayeredAsk, number))
        Mediatr.register_behavior(_behavior(LayeredPing, number))
    handlers = HandlerRegistry()
    for query_type in (Ask, LayeredAsk):
        handlers.register_query_handler(query_type, ask)
    for command_type in (Ping, LayeredPing):
        handlers.register_command_handler(command_type, ping)
    plain = Mediator(handlers, uow_factory=InMemoryUnitOfWork)
    layered = Mediator(
        handlers,
        uow_factory=InMemoryUnitOfWork,
        middlewares=[Passing(), PassingToo(), PassingAsWell()],
    )
    question, layered_question = Ask(number=7), LayeredAsk(number=7)
    order, layered_order = Ping(number=7), LayeredPing(number=7)
    return [
        Row(
            "answer a query",
            "mediatr",
            awaited(lambda: plain.query(question)),
            awaited(lambda: peer.send_async(question)),
            1 / 1.3,
        ),
        Row(
            "answer a query through 3 middlewares",
            "mediatr, 3 behaviours",
            awaited(lambda: layered.query(layered_question)),
            awaited(lambda: peer.send_async(layered_question)),
            1 / 1.5,
        ),
        Row(
            "send a command, unit of work and all",
            "mediatr, no unit of work",
            awaited(lambda: plain.send(order)),
            awaited(lambda: peer.send_async(order)),
        ),
        Row(
            "send a command through 3 middlewares, unit of work and all",
            "mediatr, 3 behaviours, no unit of work",
            awaited(lambda: layered.send(layered_order)),
            awaited(lambda: peer.send_async(layered_order)),
        ),
    ]


def _handler(message_type: type[Any]) -> Any:
    async def handle(request: Any) -> Any:
        return request.number

    # The peer reads the class itself from the annotation.
    handle.__annotations__["request"] = message_type
    return handle


def _behavior(message_type: type[Any], number: int) -> Any:
    async def behavior(request: Any, next: Any) -> Any:
        return await next()

    behavior.__annotations__["request"] = message_type
    behavior.__name__ = f"passing_{number}"
    return behavior


def main() -> int:
    with Databases() as databases:
        known = [
            *rows(),
            *persistence_peers.rows(databases),
            *event_sourcing_peers.rows(databases),
            *repository_peers.rows(databases),
            *lock_peers.rows(databases),
        ]
        over = run(named(known, " ".join(sys.argv[1:])), to=Path(".bench/peers.json"))
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
