"""The decorators of the registry, and handlers with a unit of work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cqrs_ddd_core import (
    Command,
    CommandHandler,
    DomainEvent,
    HandlerRegistry,
    Mediator,
    Query,
    UnitOfWork,
    get_current_uow,
)
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    HandlerAlreadyRegisteredError,
    HandlerRegistrationError,
    InvalidOperationError,
)


class Deposit(Command[int]):
    cents: int = 1


class Withdraw(Command[int]):
    cents: int = 1


class ReadBalance(Query[int]):
    pass


class Deposited(DomainEvent):
    pass


class Withdrawn(DomainEvent):
    pass


async def deposit(command: Deposit) -> int:
    return command.cents


@pytest.fixture
def handlers() -> HandlerRegistry:
    return HandlerRegistry()


@pytest.fixture
def mediator(handlers: HandlerRegistry) -> Mediator:
    return Mediator(handlers, uow_factory=InMemoryUnitOfWork)


async def test_bare_decorators_take_the_message_from_the_annotation(
    handlers: HandlerRegistry, mediator: Mediator
) -> None:
    seen: list[DomainEvent] = []
    handled = handlers.command_handler(deposit)

    @handlers.query_handler
    class Balances:
        async def handle(self, query: ReadBalance) -> int:
            return 7

    @handlers.event_handler
    async def record(event: Deposited) -> None:
        seen.append(event)

    assert handled is deposit
    assert isinstance(Balances, type)
    assert (await mediator.send(Deposit(cents=5))).result == 5
    assert (await mediator.query(ReadBalance())).result == 7
    assert [each.message_type for each in handlers.get_event_handlers(Deposited)] == [Deposited]


async def test_decorators_that_name_the_message_work_without_annotations(
    handlers: HandlerRegistry, mediator: Mediator
) -> None:
    class Local(Command[int]):
        pass

    @handlers.command_handler(Local)
    async def handle(command: Local) -> int:
        return 3

    @handlers.query_handler(ReadBalance)
    async def read(query: Any) -> int:
        return 4

    @handlers.event_handler(Deposited)
    @handlers.event_handler(Withdrawn)
    async def record(event: Deposited | Withdrawn) -> None: ...

    assert (await mediator.send(Local())).result == 3
    assert (await mediator.query(ReadBalance())).result == 4
    assert len(handlers.get_event_handlers(Deposited)) == 1
    assert len(handlers.get_event_handlers(Withdrawn)) == 1


def test_decorated_functions_and_classes_keep_their_types(handlers: HandlerRegistry) -> None:
    class Handler(CommandHandler[int]):
        async def handle(self, command: Withdraw) -> int:
            return command.cents

    function: Callable[[Deposit], Coroutine[Any, Any, int]] = handlers.command_handler(deposit)
    cls: type[Handler] = handlers.command_handler(Withdraw)(Handler)

    assert (function, cls) == (deposit, Handler)


def test_event_handler_of_the_base_class_gets_every_event(handlers: HandlerRegistry) -> None:
    @handlers.event_handler
    async def record(event: DomainEvent) -> None: ...

    assert len(handlers.get_event_handlers(Deposited)) == 1


def test_event_handlers_run_in_the_order_of_registration(handlers: HandlerRegistry) -> None:
    async def first(event: DomainEvent) -> None: ...
    async def second(event: Deposited) -> None: ...
    async def third(event: DomainEvent) -> None: ...

    handlers.register_event_handler(DomainEvent, first)
    handlers.register_event_handler(Deposited, second)
    handlers.register_event_handler(DomainEvent, third)

    names = [each.name.rpartition(".")[2] for each in handlers.get_event_handlers(Deposited)]
    assert names == ["first", "second", "third"]


async def without_annotation(command: Any) -> int:
    return 0


async def two_messages(command: Deposit, other: Withdraw) -> int:
    return 0


async def either(command: Deposit | Withdraw) -> int:
    return 0


async def any_command(command: Command[int]) -> int:
    return 0


async def query(query: ReadBalance) -> int:
    return 0


def not_async(command: Deposit) -> int:
    return 0


class NoHandle:
    pass


def unresolved() -> Any:
    class Local(Command[int]):
        pass

    async def handle(command: Local) -> int:
        return 0

    return handle


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (without_annotation, "no parameter is annotated with a subclass of Command; name its"),
        (two_messages, "it names Deposit and Withdraw; name its class: @command_handler"),
        (either, "it names Deposit and Withdraw; name its class: @command_handler"),
        (any_command, "no parameter is annotated with a subclass of Command"),
        (query, "it takes a Query, for which there is query_handler"),
        (unresolved(), r"cannot be resolved, as in .* postponed annotations; name its class: @c"),
        (not_async, "cannot handle Deposit: it is not async; write async def"),
        (NoHandle, "has no method handle; write async def handle"),
        (Deposit(), "is not a subclass of Command; register the message's class"),
        (ReadBalance, "is not a subclass of Command; register the message's class"),
        (Deposited, "is not a subclass of Command; register the message's class"),
        (3, "is not a function and has no method handle"),
    ],
)
def test_command_decorator_rejects_a_handler_without_one_command(
    handlers: HandlerRegistry, handler: Any, problem: str
) -> None:
    with pytest.raises(HandlerRegistrationError, match=problem):
        handlers.command_handler(handler)


def test_event_decorator_rejects_a_union_of_events(handlers: HandlerRegistry) -> None:
    async def record(event: Deposited | Withdrawn) -> None: ...

    with pytest.raises(HandlerRegistrationError, match="it names Deposited and Withdrawn"):
        handlers.event_handler(record)


def test_second_handler_of_a_command_is_rejected(handlers: HandlerRegistry) -> None:
    handlers.command_handler(deposit)

    with pytest.raises(HandlerAlreadyRegisteredError, match="a message has one handler"):
        handlers.command_handler(deposit)


def test_same_handler_of_an_event_is_rejected_the_second_time(handlers: HandlerRegistry) -> None:
    @handlers.event_handler
    async def record(event: Deposited) -> None: ...

    with pytest.raises(HandlerAlreadyRegisteredError, match="handles Deposited already"):
        handlers.event_handler(record)


class WithUow(CommandHandler[int]):
    async def handle(self, command: Deposit, uow: UnitOfWork) -> int:
        assert uow is get_current_uow()
        return command.cents


async def with_uow(command: Deposit, uow: UnitOfWork) -> int:
    assert uow is get_current_uow()
    return command.cents


async def with_optional_uow(command: Deposit, *, uow: UnitOfWork | None = None) -> int:
    assert uow is not None
    assert uow is get_current_uow()
    return command.cents


@pytest.mark.parametrize(
    "handler", [WithUow, WithUow(), lambda: WithUow(), with_uow, with_optional_uow]
)
async def test_handler_with_a_uow_parameter_gets_the_current_unit_of_work(
    handlers: HandlerRegistry, mediator: Mediator, handler: Any
) -> None:
    handlers.register_command_handler(Deposit, handler)

    assert (await mediator.send(Deposit(cents=5))).result == 5


async def test_event_handler_with_a_uow_parameter_gets_the_unit_of_work_of_the_command(
    handlers: HandlerRegistry, mediator: Mediator
) -> None:
    uows: list[UnitOfWork] = []

    @handlers.command_handler(Deposit)
    async def handle(command: Deposit, uow: UnitOfWork) -> int:
        uows.append(uow)
        uow.aggregates.add_events([Deposited()])
        return 0

    @handlers.event_handler
    async def record(event: Deposited, uow: UnitOfWork) -> None:
        uows.append(uow)

    await mediator.send(Deposit())

    assert len(uows) == 2
    assert uows[0] is uows[1]


async def test_handler_with_a_uow_parameter_outside_any_unit_of_work_is_an_error(
    handlers: HandlerRegistry, mediator: Mediator
) -> None:
    @handlers.query_handler
    async def read(query: ReadBalance, uow: UnitOfWork) -> int:
        return 0

    with pytest.raises(InvalidOperationError, match="takes uow, but no unit of work is open"):
        await mediator.query(ReadBalance())


async def uow_of_another_type(command: Deposit, uow: int) -> int:
    return 0


async def uow_first(uow: UnitOfWork, command: Deposit) -> int:
    return 0


async def by_name_only(*, command: Deposit) -> int:
    return 0


async def no_message(uow: UnitOfWork) -> int:
    return 0


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (uow_of_another_type, "it has uow: int; write uow: UnitOfWork"),
        (uow_first, r"it takes \(uow, command\); make command its first parameter"),
        (by_name_only, r"it takes \(command\); make command its first parameter"),
        (no_message, r"it takes \(uow\), not exactly one message"),
    ],
)
def test_handler_with_wrong_parameters_is_rejected(
    handlers: HandlerRegistry, handler: Any, problem: str
) -> None:
    with pytest.raises(HandlerRegistrationError, match=problem):
        handlers.register_command_handler(Deposit, handler)


async def test_resolver_may_be_async() -> None:
    async def resolve(handler: type[Any]) -> Any:
        return handler()

    handlers = HandlerRegistry(resolver=resolve)
    handlers.register_command_handler(Deposit, WithUow)
    mediator = Mediator(handlers, uow_factory=InMemoryUnitOfWork)

    assert (await mediator.send(Deposit(cents=2))).result == 2
