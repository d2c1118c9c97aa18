"""Two releases of an application, each in a process of its own, on one database."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from cqrs_ddd_core import InboxConsumer
from cqrs_ddd_core.messaging.consumer import decode_event
from cqrs_ddd_core.ports import IMessagePublisher, OutboxMessage
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend
from tests.faults.crashing import Place
from tests.forking import context, process

BEFORE = "tests.faults.shop_before"
AFTER = "tests.faults.shop_after"


class ReleaseError(Exception):
    """Error that a command raised in another process: the name of its class, and its text."""


class Release:
    """Process that runs one release, and answers one call after another."""

    def __init__(self, calls: Connection) -> None:
        self._calls = calls

    def send(self, command: str, **fields: Any) -> Any:
        """Send a command, and return its result."""
        return self._call("send", command, fields)

    def rebuild(self, handler: str, **options: bool) -> Any:
        """Rebuild the projection of a handler."""
        return self._call("rebuild", handler, options)

    def read_balance(self, wallet_id: str) -> Any:
        """Return the document of a wallet."""
        return self._call("read_balance", wallet_id, {})

    def publish(self) -> Any:
        """Publish and consume all messages; return the cents of each event."""
        return self._call("publish", "", {})

    def _call(self, name: str, argument: str, fields: dict[str, Any]) -> Any:
        self._calls.send((name, argument, fields))
        assert self._calls.poll(60), f"no answer to {name} {argument}"
        result, error = self._calls.recv()
        if error is not None:
            raise ReleaseError(error)
        return result


@contextmanager
def run_release(module: str, place: Place) -> Iterator[Release]:
    """Run a release until the end of the block."""
    ours, theirs = context.Pipe()
    with process(_serve, module, place, theirs):
        yield Release(ours)


def _serve(module: str, place: Place, calls: Connection) -> None:
    asyncio.run(_answer_calls(module, place, calls))


async def _answer_calls(module: str, place: Place, calls: Connection) -> None:
    shop = importlib.import_module(module)
    async with place.engine() as engine:
        backend = SQLAlchemyBackend(engine, tables=place.tables)
        projections, consumed = shop.create_projections(), Consumed(backend, shop.events)
        app = shop.create_application(backend, projections, consumed)
        async with app.open(services=False):
            while True:
                name, argument, fields = await asyncio.to_thread(calls.recv)
                try:
                    if name == "send":
                        response = await app.send(getattr(shop, argument)(**fields))
                        result: Any = response.result
                    elif name == "rebuild":
                        handler = getattr(shop, argument)()
                        result = await projections.create_rebuild(handler).run(**fields)
                    elif name == "read_balance":
                        result = await projections.documents.get("balances", argument)
                    else:
                        await app.relay.drain()
                        result = consumed.cents
                except Exception as error:
                    calls.send((None, f"{type(error).__name__}: {error}"))
                else:
                    calls.send((result, None))


class Consumed(IMessagePublisher):
    """Broker that hands each message to a consumer in the same process."""

    def __init__(self, backend: SQLAlchemyBackend, events: Any) -> None:
        self.cents: list[int] = []
        self._events = events
        self._consume = InboxConsumer("audit", self._note, uow_factory=backend.unit_of_work)

    async def publish(self, message: Any) -> None:
        await self._consume(message)

    async def _note(self, message: OutboxMessage) -> None:
        event: Any = decode_event(message, self._events)
        self.cents.append(event.cents)
