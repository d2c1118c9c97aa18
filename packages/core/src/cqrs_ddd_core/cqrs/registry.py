"""Registry of handlers by message type, and the dispatcher of events to handlers."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

from ..correlation import correlation_scope, get_correlation_id
from ..domain.events import DomainEvent, get_path
from ..messages import Command, Query
from ..ports.event_dispatcher import IEventDispatcher
from ..primitives import exceptions as errors
from . import signatures
from .handlers import BoundHandler, Resolver, bind, describe_handler, find_message_type

HandlerFn = Callable[..., Awaitable[Any]]
F = TypeVar("F", bound=HandlerFn)
H = TypeVar("H", bound=HandlerFn | type)
"""Function or class that handles a message."""


class HandlerRegistry:
    """Registry of one handler for each command and query, and any number for each event.

    A handler is an instance, a class, an async function, or a factory without parameters.

    Args:
        resolver: instantiates handler classes, for example the ``get`` of a container.

    Raises:
        ConfigError: the resolver cannot be called.

    Example:
        ```python
        from cqrs_ddd_core import HandlerRegistry, Query

        class CountOrders(Query[int]):
            customer: str

        handlers = HandlerRegistry()

        @handlers.query_handler
        async def count_orders(query: CountOrders) -> int:
            return 0
        ```
    """

    def __init__(self, resolver: Resolver | None = None) -> None:
        if resolver is not None and not signatures.can_be_called_with_one(resolver):
            raise errors.ConfigError(
                f"resolver is {resolver!r}, which cannot be called with the class of a handler; "
                "pass a function, such as the get of a container",
                variable="resolver",
            )
        self._resolver = resolver
        self._handlers: dict[type, BoundHandler] = {}
        self._event_handlers: list[tuple[object, BoundHandler]] = []
        self._for_event: dict[type[DomainEvent], tuple[BoundHandler, ...]] = {}
        self._named: dict[tuple[str, str], HandlerFn] = {}

    def register_command_handler(self, command_type: type[Command], handler: object) -> None:
        """Register the one handler of a command type.

        Raises:
            HandlerAlreadyRegisteredError: the command type has a handler.
            HandlerRegistrationError: the handler does not fit the command type.
        """
        self._register(Command, command_type, handler)

    def register_query_handler(self, query_type: type[Query], handler: object) -> None:
        """Register the one handler of a query type.

        Raises:
            HandlerAlreadyRegisteredError: the query type has a handler.
            HandlerRegistrationError: the handler does not fit the query type.
        """
        self._register(Query, query_type, handler)

    def register_event_handler(self, event_type: type[DomainEvent], handler: object) -> None:
        """Register a handler of an event and its subclasses; handlers run in this order.

        Raises:
            HandlerAlreadyRegisteredError: it is a handler of the event type already.
            HandlerRegistrationError: the handler does not fit the event type.
        """
        _ensure_subclass(DomainEvent, event_type)
        bound = bind(event_type, handler, self._resolver)
        for known, other in self._event_handlers:
            if other.message_type is event_type and known == handler:
                raise errors.HandlerAlreadyRegisteredError.registered_twice(
                    event_type.__name__, bound.name
                )
        self._event_handlers.append((handler, bound))
        self._for_event.clear()

    @overload
    def command_handler(self, handler: type[Command[Any]], /) -> Callable[[H], H]: ...
    @overload
    def command_handler(self, handler: H, /) -> H: ...
    def command_handler(self, handler: Any, /) -> Any:
        """Register the decorated function or class as the handler of a command, unchanged.

        ``@handlers.command_handler`` takes the command from the annotations of the function, or of
        the method ``handle`` of the class; ``@handlers.command_handler(Deposit)`` names it.

        Raises:
            HandlerAlreadyRegisteredError: the command type has a handler.
            HandlerRegistrationError: the handler does not fit, or its annotations name no command,
                or two.
        """
        return self._decorate(handler, Command, self.register_command_handler)

    @overload
    def query_handler(self, handler: type[Query[Any]], /) -> Callable[[H], H]: ...
    @overload
    def query_handler(self, handler: H, /) -> H: ...
    def query_handler(self, handler: Any, /) -> Any:
        """Register the decorated function or class as the handler of a query, unchanged.

        Raises:
            HandlerAlreadyRegisteredError: the query type has a handler.
            HandlerRegistrationError: the handler does not fit, or its annotations name no query, or
                two.
        """
        return self._decorate(handler, Query, self.register_query_handler)

    @overload
    def event_handler(self, handler: type[DomainEvent], /) -> Callable[[H], H]: ...
    @overload
    def event_handler(self, handler: H, /) -> H: ...
    def event_handler(self, handler: Any, /) -> Any:
        """Register the decorated function or class as a handler of an event, unchanged.

        Raises:
            HandlerAlreadyRegisteredError: it is a handler of the event type already.
            HandlerRegistrationError: the handler does not fit, or its annotations name no event, or
                two.
        """
        return self._decorate(handler, DomainEvent, self.register_event_handler)

    def register(self, domain: str, command_type: str, handler: HandlerFn) -> None:
        """Register a handler by the names of a domain and a command, for commands in JSON.

        Raises:
            HandlerAlreadyRegisteredError: this or another handler has these names.
        """
        if holder := self._named.get((domain, command_type)):
            raise errors.HandlerAlreadyRegisteredError.already_handled(
                f"{domain}.{command_type}", describe_handler(holder)
            )
        self._named[domain, command_type] = handler

    def get(self, domain: str, command_type: str) -> HandlerFn | None:
        """Return the handler with this domain and command name, or None."""
        return self._named.get((domain, command_type))

    def decorator(self, domain: str, command_type: str) -> Callable[[F], F]:
        """Return ``register`` as a decorator."""

        def wrapper(handler: F) -> F:
            self.register(domain, command_type, handler)
            return handler

        return wrapper

    def get_handler(self, message_type: type) -> BoundHandler:
        """Return the handler of a message type.

        Raises:
            HandlerNotRegisteredError: the message type has no handler; the error lists similar
                names.
        """
        try:
            return self._handlers[message_type]
        except KeyError:
            kind = "query" if issubclass(message_type, Query) else "command"
            raise errors.HandlerNotRegisteredError.unknown(
                kind,
                message_type.__name__,
                [known.__name__ for known in self._handlers],
                f"register_{kind}_handler",
            ) from None

    def get_event_handlers(self, event_type: type[DomainEvent]) -> tuple[BoundHandler, ...]:
        """Return the handlers of an event type and its base classes, in order of registration."""
        handlers = self._for_event.get(event_type)
        if handlers is None:
            handlers = tuple(
                handler
                for _, handler in self._event_handlers
                if _is_kind_of(event_type, handler.message_type)
            )
            self._for_event[event_type] = handlers
        return handlers

    def verify(self, messages: Iterable[type] | None = None) -> None:
        """Check that each message has exactly one handler.

        Args:
            messages: types to check, by default all commands and queries of the process.

        Raises:
            HandlerRegistrationError: a message has no handler, or two; the error lists all of them.
        """
        checked = list(_find_messages() if messages is None else messages)
        problems = [f"{m.__name__} has no handler" for m in checked if m not in self._handlers]
        problems += [
            f"{message.__name__} has two handlers: {', '.join(holders)}"
            for message in checked
            if len(holders := self._list_holders(message)) > 1
        ]
        if problems:
            raise errors.HandlerRegistrationError(
                f"{'; '.join(problems)}; register exactly one handler for each message"
            )

    def _list_holders(self, message: type) -> list[str]:
        holders = [
            f"{domain}.{name} is {handler.__qualname__}"
            for (domain, name), handler in self._named.items()
            if name == message.__name__
        ]
        if message in self._handlers:
            holders.append(self._handlers[message].name)
        return holders

    def _decorate(self, handler: Any, kind: type, register: Callable[[Any, Any], None]) -> Any:
        if isinstance(handler, type) and issubclass(handler, (Command, Query, DomainEvent)):
            _ensure_subclass(kind, handler)

            def decorate(function: H) -> H:
                register(handler, function)
                return function

            return decorate
        register(find_message_type(handler, kind), handler)
        return handler

    def _register(self, kind: type, message_type: type, handler: object) -> None:
        _ensure_subclass(kind, message_type)
        if holder := self._handlers.get(message_type):
            raise errors.HandlerAlreadyRegisteredError.already_handled(
                message_type.__name__, holder.name
            )
        self._handlers[message_type] = bind(message_type, handler, self._resolver)


class EventDispatcher(IEventDispatcher):
    """Dispatcher that calls the event handlers of a registry in order, each with its own copy.

    While a handler runs, the id of the event is the causation id.

    Args:
        handlers: registry of the event handlers.
    """

    def __init__(self, handlers: HandlerRegistry) -> None:
        self._handlers = handlers

    async def dispatch(self, events: Sequence[DomainEvent]) -> None:
        """Call the handlers of each event in order; the first error is raised."""
        for event in events:
            handlers = self._handlers.get_event_handlers(type(event))
            if not handlers:
                continue
            with correlation_scope(event.correlation_id or get_correlation_id(), event.event_id):
                for handler in handlers:
                    await handler.call(event.detach())


def _ensure_subclass(kind: type, message_type: object) -> None:
    if not (isinstance(message_type, type) and issubclass(message_type, kind)):
        raise errors.HandlerRegistrationError.not_a_message(message_type, kind.__name__)


def _is_kind_of(event_type: type, handled: type) -> bool:
    """Return whether a class is or extends another one, by path if a module was reloaded."""
    return issubclass(event_type, handled) or get_path(handled) in map(get_path, event_type.__mro__)


def _find_messages() -> Iterator[type]:
    pending: list[type] = [Command, Query]
    while pending:
        message = pending.pop()
        pending += message.__subclasses__()
        # Command[str] is a class that pydantic generates, not a message.
        if message not in (Command, Query) and "[" not in message.__name__:
            yield message
