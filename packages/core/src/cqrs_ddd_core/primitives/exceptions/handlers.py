"""Errors of registration: handlers, middlewares and names of types."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from .base import CQRSDDDError, ErrorClass


class HandlerError(CQRSDDDError):
    """Handlers or middlewares are wired wrongly."""

    error_class = ErrorClass.PERMANENT


class HandlerRegistrationError(HandlerError):
    """The handler does not fit the message that it is registered for.

    Attributes:
        message_type: name of the message's class.
        handler: path of the handler.
    """

    def __init__(self, message: str = "", *, message_type: str = "", handler: str = "") -> None:
        super().__init__(message)
        self.message_type = message_type
        self.handler = handler

    @classmethod
    def unfit(
        cls, handler: str, message_type: str, task: str, problem: str
    ) -> HandlerRegistrationError:
        """Build the error for a ``handler`` that cannot do its ``task`` for a type."""
        return cls(
            f"{handler} cannot {task} {message_type}: it {problem}",
            message_type=message_type,
            handler=handler,
        )

    @classmethod
    def unknown_message(
        cls, handler: str, decorator: str, problem: str
    ) -> HandlerRegistrationError:
        """Build the error for a ``handler`` whose message a ``decorator`` cannot find out."""
        return cls(
            f"cannot find out the message of {handler}: {problem}; name its class: "
            f"@{decorator}(...)",
            handler=handler,
        )

    @classmethod
    def not_a_message(cls, given: object, kind: str) -> HandlerRegistrationError:
        """Build the error for a message type that is not a subclass of ``kind``."""
        problem = f"is not a subclass of {kind}; register the message's class"
        return cls(f"{given!r} {problem}", message_type=str(given))


class HandlerAlreadyRegisteredError(HandlerRegistrationError, ValueError):
    """The message already has a handler."""

    @classmethod
    def registered_twice(cls, name: str, handler: str) -> HandlerAlreadyRegisteredError:
        """Build the error for the second registration of one ``handler`` of an event ``name``."""
        return cls(
            f"{handler} handles {name} already; register it once",
            message_type=name,
            handler=handler,
        )

    @classmethod
    def already_handled(cls, name: str, holder: str) -> HandlerAlreadyRegisteredError:
        """Build the error for a message ``name`` that ``holder`` handles."""
        return cls(
            f"{name} is already handled by {holder}; a message has one handler",
            message_type=name,
            handler=holder,
        )


class HandlerNotRegisteredError(HandlerError):
    """No handler is registered for the message.

    Attributes:
        message_type: name of the message's class.
    """

    def __init__(self, message: str = "", *, message_type: str = "") -> None:
        super().__init__(message)
        self.message_type = message_type

    @classmethod
    def unknown(
        cls, kind: str, name: str, known: Collection[str], call: str
    ) -> HandlerNotRegisteredError:
        """Build the error for a type without a handler; it lists similar names of ``known``.

        Args:
            kind: kind of handler, such as "command" or "query result".
            name: type without a handler.
            known: types that have a handler.
            call: method that registers a handler.
        """
        near = get_close_matches(name, known, n=3) or sorted(known)[:5]
        return cls(
            f"no {kind} handler for {name}; there are handlers for {', '.join(near) or 'nothing'}; "
            f"call registry.{call}({name}, ...) first",
            message_type=name,
        )


class HandlerResultError(HandlerError):
    """A handler returned a value of another type than it promises.

    Attributes:
        handler: path of the handler.
        expected: names of the expected types.
        actual: name of the returned type.
    """

    def __init__(
        self, message: str = "", *, handler: str = "", expected: str = "", actual: str = ""
    ) -> None:
        super().__init__(message)
        self.handler = handler
        self.expected = expected
        self.actual = actual


class EventHandlerError(HandlerError, TypeError):
    """A method of an aggregate that applies an event is wrong or ambiguous.

    Attributes:
        aggregate_type: name of the aggregate's class.
        handler: name of the method.
    """

    def __init__(self, message: str = "", *, aggregate_type: str = "", handler: str = "") -> None:
        super().__init__(message)
        self.aggregate_type = aggregate_type
        self.handler = handler


class MiddlewareError(HandlerError):
    """A middleware breaks the pipeline: it has the wrong place, or returns no response.

    Attributes:
        middleware: name of the middleware's class.
    """

    def __init__(self, message: str = "", *, middleware: str = "") -> None:
        super().__init__(message)
        self.middleware = middleware


class TypeRegistryError(CQRSDDDError):
    """A name and a class do not fit together.

    Attributes:
        name: stored name of the class.
    """

    error_class = ErrorClass.PERMANENT

    def __init__(self, message: str = "", *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class DuplicateTypeError(TypeRegistryError, ValueError):
    """Two classes claim one name."""


class UnknownTypeError(TypeRegistryError):
    """No class is registered under the name."""
