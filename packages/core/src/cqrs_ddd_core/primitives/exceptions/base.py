"""Root of the error tree with its classification, and errors of commands, calls and settings."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class ErrorClass(Enum):
    """Kind of error, which decides how to react to it."""

    TRANSIENT = "transient"
    """Retry."""
    PERMANENT = "permanent"
    """Keep the message as a dead letter for an operator."""
    BUSINESS = "business"
    """Return the error to the client: a rule of the domain forbids the request."""


def classify_error(error: BaseException) -> ErrorClass:
    """Return the ``error_class`` of an error.

    An error outside the tree counts as transient: a bounded retry of an unknown failure does
    less harm than losing the command.
    """
    return error.error_class if isinstance(error, CQRSDDDError) else ErrorClass.TRANSIENT


class CQRSDDDError(Exception):
    """Root of all errors of the toolkit.

    Args:
        message: request, present state and next step, in one sentence.
    """

    error_class: ClassVar[ErrorClass] = ErrorClass.TRANSIENT


class TransientCommandError(CQRSDDDError):
    """The command failed for a passing reason; sending it again may succeed."""


class CommandTimeoutError(TransientCommandError):
    """The command took longer than its time limit and is not stored.

    It is transient, because the cause is usually a lock or a load that passes.

    Attributes:
        message_type: name of the command's class.
        seconds: time limit.
    """

    def __init__(self, message: str = "", *, message_type: str = "", seconds: float = 0.0) -> None:
        super().__init__(message)
        self.message_type = message_type
        self.seconds = seconds

    @classmethod
    def after(cls, message_type: str, seconds: float) -> CommandTimeoutError:
        """Build the error for a command that did not end within ``seconds``."""
        return cls(
            f"{message_type} did not end within {seconds} s and is not stored; send it again, "
            "and look for a transaction that holds a lock",
            message_type=message_type,
            seconds=seconds,
        )


class PermanentCommandError(CQRSDDDError):
    """The command can never succeed; an operator has to look at it."""

    error_class = ErrorClass.PERMANENT


class DuplicateCommandError(CQRSDDDError):
    """A command with this id was sent before with different content.

    Attributes:
        command_id: id of the command, or of the message.
    """

    error_class = ErrorClass.PERMANENT

    def __init__(self, message: str = "", *, command_id: str = "") -> None:
        super().__init__(message)
        self.command_id = command_id


class ResultNotRememberedError(CQRSDDDError):
    """The command was handled before, and its class does not keep the result.

    Attributes:
        command_id: id of the command.
    """

    error_class = ErrorClass.BUSINESS

    def __init__(self, message: str = "", *, command_id: str = "") -> None:
        super().__init__(message)
        self.command_id = command_id

    @classmethod
    def already_handled(cls, type_name: str, command_id: str) -> ResultNotRememberedError:
        """Build the error for the repetition of a command."""
        return cls(
            f"{type_name} {command_id} was handled before, and its result is not kept "
            "(remember_result = False); read its effect with a query, or send a new command",
            command_id=command_id,
        )


class InvalidOperationError(CQRSDDDError):
    """The object cannot perform the call in its present state, or with these arguments."""

    error_class = ErrorClass.PERMANENT

    @classmethod
    def no_add_many(cls, repository: str) -> InvalidOperationError:
        """Build the error for a ``repository`` around a repository that has no ``add_many``."""
        return cls(
            f"the repository wrapped by {repository} has no add_many; call add for each aggregate "
            "within one unit of work, or wrap an IBulkRepository"
        )

    @classmethod
    def already_in_outbox(cls, message_id: str) -> InvalidOperationError:
        """Build the error for a message with the id of a message in the outbox."""
        return cls(
            f"a message with id {message_id} is already in the outbox; give each message its own id"
        )

    @classmethod
    def not_dead_lettered(cls, message_id: str) -> InvalidOperationError:
        """Build the error for a message of the outbox that is not a dead letter."""
        return cls(
            f"message {message_id} is not a dead letter; list_dead_letters() returns all dead "
            "letters"
        )

    @classmethod
    def not_in_inbox(cls, consumer: str, message_id: str) -> InvalidOperationError:
        """Build the error for an outcome without a registered message."""
        return cls(f"{consumer} has not registered message {message_id}; register it first")

    @classmethod
    def covers_all_tenants(cls, operation: str) -> InvalidOperationError:
        """Build the error for an ``operation`` on a key inside ``system_tenant``."""
        return cls(
            f"cannot {operation} inside system_tenant(), since the same key may exist in several "
            "tenants; open request_context(tenant_id=...) for the tenant, or request_context() in "
            "an application without tenants"
        )

    @classmethod
    def needs_all_tenants(cls, operation: str) -> InvalidOperationError:
        """Build the error for an ``operation`` on a whole table in the request of a tenant."""
        return cls(
            f"cannot {operation} in the request of a tenant, since it concerns the rows of all "
            "tenants; run it inside system_tenant()"
        )

    @classmethod
    def other_owner(cls, aggregate_type: str, entity_id: object) -> InvalidOperationError:
        """Build the error for an aggregate of another tenant than the running request."""
        return cls(
            f"{aggregate_type} {entity_id} belongs to another tenant than the request; save it in "
            "a request of its own tenant"
        )

    @classmethod
    def other_tenant(cls, subject: str) -> InvalidOperationError:
        """Build the error for a ``subject`` to store that names another tenant."""
        return cls(
            f"{subject} names another tenant_id than the running request; store it inside "
            "request_context(tenant_id=...) of its tenant, or leave tenant_id out"
        )


class ConcurrentUseError(InvalidOperationError):
    """Two tasks use one unit of work at the same time.

    Attributes:
        running: operation that is running.
        rejected: operation that was rejected.
    """

    def __init__(self, message: str = "", *, running: str = "", rejected: str = "") -> None:
        super().__init__(message)
        self.running = running
        self.rejected = rejected


class ReadOnlyError(InvalidOperationError):
    """Attempt to change something in a read-only unit of work, such as that of a query.

    Attributes:
        operation: operation that was rejected.
    """

    def __init__(self, message: str = "", *, operation: str = "") -> None:
        super().__init__(message)
        self.operation = operation

    @classmethod
    def rejected(cls, operation: str) -> ReadOnlyError:
        """Build the error for an ``operation`` that writes."""
        return cls(
            f"cannot {operation} in a read-only unit of work, such as the one of a query; send a "
            "command, whose handler may write",
            operation=operation,
        )

    @classmethod
    def command_in_query(cls, command: str) -> ReadOnlyError:
        """Build the error for a ``command`` that is sent while a query runs."""
        return cls(
            f"cannot send {command} in a read-only unit of work, such as the one of a query; send "
            "it after the query, or let a command handler do both",
            operation=f"send {command}",
        )


class UnsavedChangesError(InvalidOperationError):
    """An aggregate recorded events, but no repository saved them.

    Attributes:
        aggregate_type: stored name of the aggregate's class.
        aggregate_id: id of the aggregate.
    """

    def __init__(
        self, message: str = "", *, aggregate_type: str = "", aggregate_id: object = None
    ) -> None:
        super().__init__(message)
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id

    @classmethod
    def changed_later(
        cls, type_name: str, aggregate_id: object, unsaved: int
    ) -> UnsavedChangesError:
        """Build the error for an aggregate that recorded events after its last save."""
        return cls(
            f"{type_name} {aggregate_id} recorded {unsaved} event(s) that are not saved; call "
            "repository.add(...) after the last change",
            aggregate_type=type_name,
            aggregate_id=aggregate_id,
        )

    @classmethod
    def never_added(cls, type_name: str, aggregate_id: object) -> UnsavedChangesError:
        """Build the error for a new aggregate that recorded events and was not saved."""
        return cls(
            f"{type_name} {aggregate_id} is new and was not saved, so its events would be lost; "
            "call repository.add(...), or collect_events() of an aggregate that is not kept",
            aggregate_type=type_name,
            aggregate_id=aggregate_id,
        )


class ConfigError(CQRSDDDError, ValueError):
    """A setting is missing or invalid.

    Attributes:
        variable: name of the environment variable, or empty if there is none.
    """

    error_class = ErrorClass.PERMANENT

    def __init__(self, message: str = "", *, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable
