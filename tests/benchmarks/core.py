"""The hot paths of core."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    CommandResponse,
    DomainEvent,
    EventTypeRegistry,
    HandlerRegistry,
    IMiddleware,
    Mediator,
    StoredEvent,
)
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.instrumentation import Operation, hooks

from .measuring import Row, Side, awaited, repeated

EVENTS = 1_000
PYDANTIC_NAMES = (
    "AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, PrivateAttr, TypeAdapter, "
    "field_validator, model_validator"
)


class Ping(Command[int]):
    number: int = 1


async def ping(command: Ping) -> int:
    return command.number


class Passing(IMiddleware):
    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        return await next_(message)


class PassingToo(Passing): ...


class PassingAsWell(Passing): ...


class Deposited(DomainEvent):
    amount: int


class Account(AggregateRoot[str]):
    balance: int = 0

    def apply_Deposited(self, event: Deposited) -> None:
        self.balance += event.amount


class GenerousPing(BaseModel):
    """What a ``Ping`` would be without the library."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command_id: str = Field(default_factory=lambda: str(uuid4()))
    correlation_id: str | None = None
    number: int = 1


def mediator(*middlewares: IMiddleware) -> Mediator:
    handlers = HandlerRegistry()
    handlers.register_command_handler(Ping, ping)
    return Mediator(handlers, uow_factory=InMemoryUnitOfWork, middlewares=middlewares)


def rows() -> list[Row]:
    command = Ping(number=7)
    table: dict[type[Any], Callable[[Any], Awaitable[int]]] = {Ping: ping}

    async def bare() -> CommandResponse[int]:
        async with InMemoryUnitOfWork():
            return CommandResponse(await table[type(command)](command))

    plain, layered = mediator(), mediator(Passing(), PassingToo(), PassingAsWell())
    lookup = "dict lookup, await, the same unit of work"
    return [
        Row("send a command", lookup, awaited(lambda: plain.send(command)), awaited(bare), 2.0),
        Row(
            "send a command through 3 middlewares",
            lookup,
            awaited(lambda: layered.send(command)),
            awaited(bare),
            2.5,
        ),
        Row(
            "send a command under a hook that does nothing",
            "the same without hooks",
            _hooked(awaited(lambda: plain.send(command))),
            awaited(lambda: plain.send(command)),
        ),
        Row(
            "make a command",
            "pydantic model, str(uuid4())",
            repeated(lambda: Ping(number=7)),
            repeated(lambda: GenerousPing(number=7)),
            1.5,
        ),
        Row(
            "make a command with a given id",
            "pydantic model",
            repeated(lambda: Ping(number=7, command_id="c-1")),
            repeated(lambda: GenerousPing(number=7, command_id="c-1")),
            1.5,
        ),
        *_rehydration(),
        Row(
            "import cqrs_ddd_core",
            "import asyncio, and from pydantic what core uses",
            _running("import cqrs_ddd_core"),
            _running(f"import asyncio; from pydantic import {PYDANTIC_NAMES}"),
            1.5,
        ),
    ]


def _rehydration() -> list[Row]:
    typed = [Deposited(amount=number) for number in range(EVENTS)]
    stored = [_stored(event, version) for version, event in enumerate(typed, 1)]
    registry = EventTypeRegistry()
    registry.register(Deposited)

    def by_hand() -> None:
        account = Account.create_empty("a-1")
        for event in typed:
            account.apply_Deposited(event)
        Account.model_validate(account.__dict__)

    def by_hand_from_stored() -> None:
        account = Account.create_empty("a-1")
        for event in stored:
            account.apply_Deposited(
                Deposited(
                    **event.payload,  # type: ignore[arg-type]
                    event_id=event.event_id,
                    occurred_at=event.occurred_at,
                    aggregate_id=event.aggregate_id,
                    aggregate_type=event.aggregate_type,
                    aggregate_version=event.version,
                    metadata=event.metadata,  # type: ignore[arg-type]
                )
            )
        Account.model_validate(account.__dict__)

    return [
        Row(
            f"rehydrate {EVENTS:,} events",
            "loop over the handler",
            repeated(lambda: Account.rehydrate("a-1", typed)),
            repeated(by_hand),
            2.0,
        ),
        Row(
            f"rehydrate {EVENTS:,} stored events",
            "loop over model and handler",
            repeated(lambda: Account.rehydrate("a-1", stored)),
            repeated(by_hand_from_stored),
            2.0,
        ),
    ]


def _stored(event: Deposited, version: int) -> StoredEvent:
    return StoredEvent(
        event_id=event.event_id,
        event_type="Deposited",
        aggregate_id="a-1",
        aggregate_type="Account",
        version=version,
        payload={"amount": event.amount},
        occurred_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )


def _hooked(side: Side) -> Side:
    @contextmanager
    def nothing(operation: Operation) -> Any:
        yield

    async def hooked(times: int) -> None:
        remove = hooks.register(nothing)
        try:
            await side(times)
        finally:
            remove()

    return hooked


def _running(code: str) -> Side:
    """A process that does nothing else; both sides start the interpreter, compiled code is kept."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    async def side(times: int) -> None:
        for _ in range(times):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, env=environment
            )
            assert await process.wait() == 0

    return side
