"""Entry point of the application: commands and queries go through middlewares to handlers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..correlation import causation_id_var, correlation_id_var
from ..domain.aggregate import tracked_at_work
from ..domain.events import DomainEvent
from ..instrumentation import hooks
from ..messages import Command, CommandResponse, Query, QueryResponse
from ..ports import ICommandBus, IEventDispatcher, IMiddleware, IQueryBus
from ..primitives import exceptions
from ..unit_of_work import TrackedAggregates, UnitOfWork, get_current_uow
from ..unit_of_work.deferred import read_in_unit_of_work
from .pipeline import Step, build_handler_step, chain, get_name, split_by_placement
from .registry import EventDispatcher, HandlerRegistry

R = TypeVar("R")

MAX_EVENT_ROUNDS = 100
"""Largest number of rounds in which event handlers may raise further events in one command."""


@dataclass(frozen=True)
class Plan:
    """Steps of sending a message, in order.

    Attributes:
        message: name of the message's class.
        outside: names of the middlewares outside the unit of work.
        unit_of_work: name of the factory of the unit of work; None for a query that has none.
        inside: names of the middlewares inside the unit of work.
        handler: path of the handler.
        needs_locks: True if the message names resources that a middleware has to lock.
    """

    message: str
    outside: tuple[str, ...]
    unit_of_work: str | None
    inside: tuple[str, ...]
    handler: str
    needs_locks: bool


class Mediator(ICommandBus, IQueryBus):
    """Bus that sends each message through middlewares to its handler.

    A command runs in the unit of work of the running command, else in the open one of the caller,
    else in a new one that commits when the handler has returned. Before the commit, the events of
    all aggregates are passed, as one list, to the event handlers of this process and to the
    middlewares inside the unit of work. Handlers and middlewares cannot commit or roll back.

    With ``query_uow_factory``, a query runs in the open unit of work of the caller, else in a new
    read-only one, which is created when the handler first uses it and is rolled back at the end.
    Without it, queries have no unit of work of their own.

    Args:
        handlers: registry of the handlers.
        uow_factory: creates the unit of work of a command.
        query_uow_factory: creates the read-only unit of work of a query; it is not entered, so it
            must connect at the first use.
        middlewares: in the order in which they run; list the middlewares with the placement
            outside the unit of work first.
        event_dispatcher: calls the event handlers, by default an ``EventDispatcher``.

    Raises:
        ConfigError: an argument is a class instead of an object, or an object instead of a factory.
        MiddlewareError: a middleware cannot run, or not at its place in the order.

    Example:
        ```python
        from cqrs_ddd_core import HandlerRegistry, InMemoryBackend, Mediator, Query

        class CountOrders(Query[int]):
            customer: str

        handlers = HandlerRegistry()

        @handlers.query_handler
        async def count_orders(query: CountOrders) -> int:
            return 3

        mediator = Mediator(handlers, uow_factory=InMemoryBackend().unit_of_work)
        assert (await mediator.query(CountOrders(customer="ann"))).result == 3
        ```
    """

    def __init__(
        self,
        handlers: HandlerRegistry,
        *,
        uow_factory: Callable[[], UnitOfWork],
        query_uow_factory: Callable[[], UnitOfWork] | None = None,
        middlewares: Sequence[IMiddleware] = (),
        event_dispatcher: IEventDispatcher | None = None,
    ) -> None:
        check, create = exceptions.arguments, "backend.unit_of_work"
        check.ensure_instance(handlers, HandlerRegistry, "handlers")
        check.ensure_factory(uow_factory, UnitOfWork, "uow_factory", example=create)
        if query_uow_factory is not None:
            check.ensure_factory(query_uow_factory, UnitOfWork, "query_uow_factory", example=create)
        if event_dispatcher is not None:
            check.ensure_instance(event_dispatcher, IEventDispatcher, "event_dispatcher")
        self._handlers = handlers
        self._uow_factory = uow_factory
        self._query_uow_factory = query_uow_factory
        self._outside, self._inside = split_by_placement(middlewares)
        self._events = event_dispatcher or EventDispatcher(handlers)
        self._commands: dict[type, Step] = {}
        self._queries: dict[type, Step] = {}

    async def send(self, command: Command[R]) -> CommandResponse[R]:
        """Handle a command in its unit of work, and return its response.

        An error of the handler rolls back the unit of work that the mediator has opened. In a unit
        of work of the caller, the error reaches the caller, whose block it rolls back.

        Raises:
            HandlerNotRegisteredError: the command has no handler.
            ReadOnlyError: a query is running, or the unit of work of the caller is read-only.
        """
        step = self._commands.get(command.__class__) or self._build_command(command.__class__)
        request = command.correlation_id or correlation_id_var.get() or command.command_id
        correlation = correlation_id_var.set(request)
        causation = causation_id_var.set(command.command_id)
        try:
            work = (
                _run_in_span("command.send", step, command, command.command_id)
                if hooks
                else step(command)
            )
            response: CommandResponse[R] = await work
            return response
        finally:
            causation_id_var.reset(causation)
            correlation_id_var.reset(correlation)

    async def query(self, query: Query[R]) -> QueryResponse[R]:
        """Answer a query; errors of the handler and the middlewares are raised.

        Raises:
            HandlerNotRegisteredError: the query has no handler.
        """
        step = self._queries.get(query.__class__) or self._build_query(query.__class__)
        request = query.correlation_id or correlation_id_var.get() or query.query_id
        correlation = correlation_id_var.set(request)
        causation = causation_id_var.set(query.query_id)
        try:
            work = _run_in_span("query.send", step, query, query.query_id) if hooks else step(query)
            response: QueryResponse[R] = await work
            return response
        finally:
            causation_id_var.reset(causation)
            correlation_id_var.reset(correlation)

    def explain(self, message_type: type) -> Plan:
        """Return the steps of sending a message of this type.

        Raises:
            HandlerNotRegisteredError: the message has no handler.
        """
        is_command = issubclass(message_type, Command)
        new_unit_of_work = self._uow_factory if is_command else self._query_uow_factory
        return Plan(
            message=message_type.__name__,
            outside=tuple(map(get_name, self._outside)),
            unit_of_work=None if new_unit_of_work is None else get_name(new_unit_of_work),
            inside=tuple(map(get_name, self._inside)) if is_command else (),
            handler=self._handlers.get_handler(message_type).name,
            needs_locks=hasattr(message_type, "lock_keys"),
        )

    def _build_command(self, command_type: type) -> Step:
        _ensure_kind(command_type, Command)
        handle = build_handler_step(self._handlers.get_handler(command_type), CommandResponse)
        inside = chain(self._inside, self._collect_events(handle), CommandResponse)
        nested = [each for each in self._inside if each.includes_nested]
        inside_nested = chain(nested, handle, CommandResponse)
        transaction = self._run_in_unit_of_work(inside, inside_nested)
        self._commands[command_type] = step = chain(self._outside, transaction, CommandResponse)
        return step

    def _build_query(self, query_type: type) -> Step:
        _ensure_kind(query_type, Query)
        handle = build_handler_step(self._handlers.get_handler(query_type), QueryResponse)
        if self._query_uow_factory is not None:
            handle = read_in_unit_of_work(self._query_uow_factory, handle)
        self._queries[query_type] = step = chain(self._outside, handle, QueryResponse)
        return step

    def _run_in_unit_of_work(self, inside: Step, inside_nested: Step) -> Step:
        new_unit_of_work = self._uow_factory

        async def transaction(command: object) -> CommandResponse[object]:
            response: CommandResponse[object]
            current = get_current_uow()
            if current is None:
                async with new_unit_of_work() as uow:
                    response = await _run_inside(uow, inside, command)
                position = uow.committed_position
                return response if position is None else replace(response, position=position)
            if current.read_only:
                raise exceptions.ReadOnlyError.command_in_query(type(command).__name__)
            if tracked_at_work.get() is current.aggregates:
                # The root command collects the events of its nested commands, too.
                response = await inside_nested(command)
                current.aggregates.add_events(response.events)
                return response
            return await _run_inside(current, inside, command)

        return transaction

    def _collect_events(self, handle: Step) -> Step:
        async def step(command: object) -> CommandResponse[object]:
            response: CommandResponse[object] = await handle(command)
            aggregates = _get_tracked_at_work(command)
            if response.events:
                aggregates.add_events(response.events)
            new = aggregates.drain_new_events()
            if not new:
                return response
            events: list[DomainEvent] = []
            for _ in range(MAX_EVENT_ROUNDS):
                events += new
                await self._events.dispatch(new)
                new = aggregates.drain_new_events()
                if not new:
                    return CommandResponse(response.result, tuple(events))
            raise exceptions.InvalidOperationError(
                f"the event handlers of {type(command).__name__} still raise events after "
                f"{MAX_EVENT_ROUNDS} rounds, the last {new[0].event_type}; break the cycle"
            )

        return step


async def _run_inside(uow: UnitOfWork, inside: Step, command: object) -> CommandResponse[object]:
    outer = tracked_at_work.set(uow.aggregates)
    uow.is_managed = True
    try:
        response: CommandResponse[object] = await inside(command)
        if not uow.is_open:
            raise exceptions.InvalidOperationError(
                f"{type(command).__name__} is rolled back: the unit of work that it joined was "
                f"{uow.state.value} while it ran; wait for the command before the block ends"
            )
        return response
    finally:
        uow.is_managed = False
        tracked_at_work.reset(outer)


def _get_tracked_at_work(command: object) -> TrackedAggregates:
    tracked = tracked_at_work.get()
    if not isinstance(tracked, TrackedAggregates):
        raise exceptions.InvalidOperationError(
            f"{type(command).__name__} runs outside any unit of work"
        )
    return tracked


async def _run_in_span(operation: str, step: Step, message: object, message_id: str) -> Any:
    with hooks.span(operation, message_type=type(message).__name__, message_id=message_id):
        return await step(message)


def _ensure_kind(message_type: type, kind: type) -> None:
    if not issubclass(message_type, kind):
        call = "query" if kind is Query else "send"
        raise exceptions.HandlerNotRegisteredError(
            f"{call} takes a {kind.__name__}, got {message_type.__name__}; commands go to "
            "mediator.send, queries to mediator.query",
            message_type=message_type.__name__,
        )
