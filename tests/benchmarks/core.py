"""Hot paths of core."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    CommandResponse,
    DomainEvent,
    EventTypeRegistry,
    HandlerRegistry,
    IMiddleware,
    Mediator,
    Query,
    StoredEvent,
    UnitOfWork,
    ValueObject,
)
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.instrumentation import Operation, hooks

from .measuring import Row, Side, repeat_await, repeat_call

EVENTS = 1_000
PYDANTIC_NAMES = (
    "AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, PrivateAttr, TypeAdapter, "
    "field_validator, model_validator"
)


class Ping(Command[int]):
    number: int = 1


async def handle_ping(command: Ping) -> int:
    return command.number


class Ask(Query[int]):
    number: int = 1


async def handle_ask(query: Ask) -> int:
    return query.number


class FirstMiddleware(IMiddleware):
    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        return await next_(message)


class SecondMiddleware(FirstMiddleware): ...


class ThirdMiddleware(FirstMiddleware): ...


class Deposited(DomainEvent):
    amount: int


class Line(ValueObject):
    sku: str
    price: Decimal


class Ordered(DomainEvent):
    lines: tuple[Line, ...]


class Tagged(DomainEvent):
    tags: Any


class PlainOrdered(BaseModel):
    lines: tuple[Line, ...]


class PlainTagged(BaseModel):
    tags: Any


class Account(AggregateRoot[str]):
    balance: int = 0

    def apply_Deposited(self, event: Deposited) -> None:
        self.balance += event.amount


class PlainPing(BaseModel):
    """Model with the fields of ``Ping``, without the library."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command_id: str = Field(default_factory=lambda: str(uuid4()))
    correlation_id: str | None = None
    number: int = 1


def new_mediator(
    *middlewares: IMiddleware, query_uow_factory: Callable[[], UnitOfWork] | None = None
) -> Mediator:
    handlers = HandlerRegistry()
    handlers.register_command_handler(Ping, handle_ping)
    handlers.register_query_handler(Ask, handle_ask)
    return Mediator(
        handlers,
        uow_factory=InMemoryUnitOfWork,
        query_uow_factory=query_uow_factory,
        middlewares=middlewares,
    )


def build_rows() -> list[Row]:
    command = Ping(number=7)
    table: dict[type[Any], Callable[[Any], Awaitable[int]]] = {Ping: handle_ping}

    async def send_by_hand() -> CommandResponse[int]:
        async with InMemoryUnitOfWork():
            return CommandResponse(await table[type(command)](command))

    plain, layered = (
        new_mediator(),
        new_mediator(FirstMiddleware(), SecondMiddleware(), ThirdMiddleware()),
    )
    question = Ask(number=7)
    reading = new_mediator(query_uow_factory=lambda: InMemoryUnitOfWork(read_only=True))
    without_reading = new_mediator()
    lookup = "dict lookup, await, the same unit of work"
    return [
        Row(
            "send a command",
            lookup,
            repeat_await(lambda: plain.send(command)),
            repeat_await(send_by_hand),
            2.0,
        ),
        Row(
            "send a command through 3 middlewares",
            lookup,
            repeat_await(lambda: layered.send(command)),
            repeat_await(send_by_hand),
            2.5,
        ),
        Row(
            "send a command under a hook that does nothing",
            "the same without hooks",
            _add_hook(repeat_await(lambda: plain.send(command))),
            repeat_await(lambda: plain.send(command)),
        ),
        Row(
            "answer a query that opens no unit of work",
            "the same without query_uow_factory",
            repeat_await(lambda: reading.query(question)),
            repeat_await(lambda: without_reading.query(question)),
            2.0,
        ),
        Row(
            "make a command",
            "pydantic model, str(uuid4())",
            repeat_call(lambda: Ping(number=7)),
            repeat_call(lambda: PlainPing(number=7)),
            1.5,
        ),
        Row(
            "make a command with a given id",
            "pydantic model",
            repeat_call(lambda: Ping(number=7, command_id="c-1")),
            repeat_call(lambda: PlainPing(number=7, command_id="c-1")),
            1.5,
        ),
        *_build_payload_rows(),
        *_build_rehydration_rows(),
        Row(
            "import cqrs_ddd_core",
            "import asyncio, and the parts of pydantic that core uses",
            _run_interpreter("import cqrs_ddd_core"),
            _run_interpreter(f"import asyncio; from pydantic import {PYDANTIC_NAMES}"),
            1.5,
        ),
    ]


def _build_payload_rows() -> list[Row]:
    lines = tuple(Line(sku=f"s-{number}", price=Decimal("1.5")) for number in range(5))
    flat = Deposited(amount=7)
    nested, open_ = Ordered(lines=lines), Tagged(tags={"size": 3, "colours": ["red"]})
    plain_nested = PlainOrdered(lines=lines)
    plain_open = PlainTagged(tags=open_.tags)

    def read_back() -> None:
        content = to_json(plain_open.model_dump(mode="json"))
        assert PlainTagged.model_validate_json(content) == plain_open

    return [
        Row(
            "write the payload of an event",
            "model_dump",
            repeat_call(flat.payload),
            repeat_call(lambda: flat.model_dump(mode="json", include={"amount"})),
            2.0,
        ),
        Row(
            "write the payload of an event with 5 nested models",
            "model_dump",
            repeat_call(nested.payload),
            repeat_call(lambda: plain_nested.model_dump(mode="json")),
            3.0,
        ),
        Row(
            "write the payload of an event with values of any type",
            "model_dump, read back and compared",
            repeat_call(open_.payload),
            repeat_call(read_back),
            8.0,
        ),
    ]


def _build_rehydration_rows() -> list[Row]:
    typed = [Deposited(amount=number) for number in range(EVENTS)]
    stored = [_new_stored_event(event, version) for version, event in enumerate(typed, 1)]
    registry = EventTypeRegistry()
    registry.register(Deposited)

    def fold_by_hand() -> None:
        account = Account.create_empty("a-1")
        for event in typed:
            account.apply_Deposited(event)
        Account.model_validate(account.__dict__)

    def fold_stored_by_hand() -> None:
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
            repeat_call(lambda: Account.rehydrate("a-1", typed)),
            repeat_call(fold_by_hand),
            2.0,
        ),
        Row(
            f"rehydrate {EVENTS:,} stored events",
            "loop over model and handler",
            repeat_call(lambda: Account.rehydrate("a-1", stored)),
            repeat_call(fold_stored_by_hand),
            2.0,
        ),
    ]


def _new_stored_event(event: Deposited, version: int) -> StoredEvent:
    return StoredEvent(
        event_id=event.event_id,
        event_type="Deposited",
        aggregate_id="a-1",
        aggregate_type="Account",
        version=version,
        payload={"amount": event.amount},
        occurred_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )


def _add_hook(side: Side) -> Side:
    @contextmanager
    def do_nothing(operation: Operation) -> Any:
        yield

    async def run_under_hook(times: int) -> None:
        remove = hooks.register(do_nothing)
        try:
            await side(times)
        finally:
            remove()

    return run_under_hook


def _run_interpreter(code: str) -> Side:
    """Return a side that starts an interpreter for the code; compiled bytecode is kept."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    async def side(times: int) -> None:
        for _ in range(times):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, env=environment
            )
            assert await process.wait() == 0

    return side
