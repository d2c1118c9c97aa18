"""Every error of the core package.

::

    CQRSDDDError
    ├── DomainError
    │   ├── InvariantViolationError
    │   │   ├── CycleDetectedError
    │   │   └── ACLWideningError
    │   ├── BusinessRuleError
    │   ├── ValidationError
    │   │   └── NaiveDatetimeError
    │   ├── NotFoundError
    │   │   ├── EntityNotFoundError
    │   │   └── NodeNotFoundError
    │   ├── ImmutableObjectError
    │   ├── MissingIdentityError
    │   ├── EventApplicationError
    │   ├── HierarchyLimitExceededError
    │   └── CorruptHierarchyError
    ├── TransientCommandError
    ├── PermanentCommandError
    ├── DuplicateCommandError
    ├── InvalidOperationError
    │   ├── ConcurrentUseError
    │   └── UnsavedChangesError
    ├── ConfigError (also a ValueError)
    ├── ConcurrencyError
    │   ├── OptimisticConcurrencyError
    │   ├── LockAcquisitionError
    │   └── LeaseLostError
    ├── HandlerError
    │   ├── HandlerRegistrationError
    │   │   └── HandlerAlreadyRegisteredError (also a ValueError)
    │   ├── HandlerNotRegisteredError
    │   ├── HandlerResultError
    │   ├── EventHandlerError (also a TypeError)
    │   └── MiddlewareError
    ├── TypeRegistryError
    │   ├── DuplicateTypeError (also a ValueError)
    │   └── UnknownTypeError
    └── InfrastructureError
        ├── PersistenceError
        │   └── DuplicateKeyError
        ├── CommitOutcomeUnknownError
        ├── SerializationError
        ├── EventStoreError
        │   ├── DuplicateEventError
        │   └── AmbiguousStreamError
        ├── OutboxError
        ├── InboxError
        ├── CacheError
        ├── LockingError
        ├── MessagingError
        └── BlobStorageError
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum

import pydantic


class CQRSDDDError(Exception):
    """Root of all errors of the toolkit."""


class DomainError(CQRSDDDError):
    """The request was understood and the domain refuses it; asking again does not help."""


class InvariantViolationError(DomainError):
    """A rule that must hold for an aggregate at all times would be broken."""


class CycleDetectedError(InvariantViolationError):
    """A node would become its own ancestor; ``path`` goes from it, upwards, back to it."""

    def __init__(self, message: str = "", *, path: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)


class ACLWideningError(InvariantViolationError):
    """An access list grants what its ancestors do not; ``excess`` holds those grants."""

    def __init__(
        self, message: str = "", *, node_id: object = None, excess: Sequence[object] = ()
    ) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.excess = tuple(excess)


class BusinessRuleError(DomainError):
    """A rule of the business forbids the command now."""


class ValidationError(DomainError):
    """The input is not valid; ``errors`` maps a field (dotted path) to what is wrong with it."""

    def __init__(
        self, message: str = "", *, errors: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__(message)
        self.errors = {field: tuple(texts) for field, texts in (errors or {}).items()}

    @classmethod
    def from_pydantic(cls, message: str, error: pydantic.ValidationError) -> ValidationError:
        """The same findings, by field."""
        errors: dict[str, list[str]] = {}
        for finding in error.errors(include_url=False, include_input=False):
            errors.setdefault(".".join(map(str, finding["loc"])), []).append(finding["msg"])
        return ValidationError(f"{message}: {', '.join(errors)}", errors=errors)


class NaiveDatetimeError(ValidationError):
    """A date and time without a zone, which no two machines read alike."""

    def __init__(
        self, message: str = "", *, field: str = "", value: datetime | None = None
    ) -> None:
        super().__init__(message, errors={field: (message,)} if field else None)
        self.field = field
        self.value = value


class NotFoundError(DomainError):
    """What was asked for does not exist."""


class EntityNotFoundError(NotFoundError):
    """No entity of this type has this id."""

    def __init__(
        self, message: str = "", *, entity_type: str = "", entity_id: object = None
    ) -> None:
        super().__init__(message)
        self.entity_type = entity_type
        self.entity_id = entity_id


class NodeNotFoundError(NotFoundError):
    """A node of a hierarchy is missing: the one asked for, or an ancestor of it."""

    def __init__(self, message: str = "", *, node_id: object = None) -> None:
        super().__init__(message)
        self.node_id = node_id


class ImmutableObjectError(DomainError):
    """Someone tried to change a message, an event or a value object."""

    def __init__(self, message: str = "", *, type_name: str = "", field: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.field = field


class MissingIdentityError(DomainError):
    """An aggregate or an event does not say which aggregate it belongs to."""

    def __init__(
        self, message: str = "", *, type_name: str = "", missing: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.missing = tuple(missing)


class EventApplicationError(DomainError):
    """An event could not be applied to an aggregate; ``field`` is set when a field is to blame."""

    def __init__(
        self,
        message: str = "",
        *,
        aggregate_type: str = "",
        event_type: str = "",
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.aggregate_type = aggregate_type
        self.event_type = event_type
        self.field = field


class HierarchyLimitExceededError(DomainError):
    """A node has more ancestors than a service may read; there is no partial answer."""

    def __init__(
        self,
        message: str = "",
        *,
        node_id: object = None,
        limit: str = "",
        allowed: int | None = None,
    ) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.limit = limit
        self.allowed = allowed


class CorruptHierarchyError(DomainError):
    """Stored links form a cycle; ``path`` goes from a node, upwards, back to it."""

    def __init__(self, message: str = "", *, path: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)


class TransientCommandError(CQRSDDDError):
    """The command failed for a passing reason; sending it again may succeed."""


class PermanentCommandError(CQRSDDDError):
    """The command can never succeed; an operator has to look at it."""


class DuplicateCommandError(CQRSDDDError):
    """A command with this id was sent before with another content."""

    def __init__(self, message: str = "", *, command_id: str = "") -> None:
        super().__init__(message)
        self.command_id = command_id


class InvalidOperationError(CQRSDDDError):
    """The call makes no sense in the present state of the object."""


class ConcurrentUseError(InvalidOperationError):
    """Two tasks use one unit of work at the same time."""

    def __init__(self, message: str = "", *, running: str = "", refused: str = "") -> None:
        super().__init__(message)
        self.running = running
        self.refused = refused


class UnsavedChangesError(InvalidOperationError):
    """An aggregate recorded events that no repository was asked to save."""

    def __init__(
        self, message: str = "", *, aggregate_type: str = "", aggregate_id: object = None
    ) -> None:
        super().__init__(message)
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id


class ConfigError(CQRSDDDError, ValueError):
    """A setting is missing or unusable; ``variable`` names it."""

    def __init__(self, message: str = "", *, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


class ConcurrencyError(CQRSDDDError):
    """Somebody else was faster; deciding again on fresh state may succeed."""


class OptimisticConcurrencyError(ConcurrencyError):
    """The stored version is not the expected one; ``actual`` is None where nothing is stored."""

    def __init__(
        self,
        message: str = "",
        *,
        subject: str = "",
        expected: object = None,
        actual: int | None = None,
    ) -> None:
        super().__init__(message)
        self.subject = subject
        self.expected = expected
        self.actual = actual


class LockAcquisitionError(ConcurrencyError):
    """The lock was not granted in time; ``timeout`` is in seconds."""

    def __init__(
        self, message: str = "", *, resource: str = "", timeout: float | None = None
    ) -> None:
        super().__init__(message)
        self.resource = resource
        self.timeout = timeout


class LeaseLostError(ConcurrencyError):
    """A lock or a lease is no longer ours: it ran out, or somebody else holds it."""

    def __init__(self, message: str = "", *, resource: str = "") -> None:
        super().__init__(message)
        self.resource = resource


class HandlerError(CQRSDDDError):
    """Handlers or middlewares are wired wrongly."""


class HandlerRegistrationError(HandlerError):
    """The handler does not fit the message it is registered for."""

    def __init__(self, message: str = "", *, message_type: str = "", handler: str = "") -> None:
        super().__init__(message)
        self.message_type = message_type
        self.handler = handler


class HandlerAlreadyRegisteredError(HandlerRegistrationError, ValueError):
    """The message has a handler already."""


class HandlerNotRegisteredError(HandlerError):
    """No handler is registered for the message."""

    def __init__(self, message: str = "", *, message_type: str = "") -> None:
        super().__init__(message)
        self.message_type = message_type


class HandlerResultError(HandlerError):
    """A handler returned something that it does not promise."""

    def __init__(
        self, message: str = "", *, handler: str = "", expected: str = "", actual: str = ""
    ) -> None:
        super().__init__(message)
        self.handler = handler
        self.expected = expected
        self.actual = actual


class EventHandlerError(HandlerError, TypeError):
    """A class defines a method for an event that is wrong or ambiguous."""

    def __init__(self, message: str = "", *, aggregate_type: str = "", handler: str = "") -> None:
        super().__init__(message)
        self.aggregate_type = aggregate_type
        self.handler = handler


class MiddlewareError(HandlerError):
    """A middleware breaks the pipeline: wrong place, or no response handed on."""

    def __init__(self, message: str = "", *, middleware: str = "") -> None:
        super().__init__(message)
        self.middleware = middleware


class TypeRegistryError(CQRSDDDError):
    """A name and a class do not fit together."""

    def __init__(self, message: str = "", *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class DuplicateTypeError(TypeRegistryError, ValueError):
    """Two classes claim one name."""


class UnknownTypeError(TypeRegistryError):
    """No class is registered under the name."""


class InfrastructureError(CQRSDDDError):
    """A database, broker, cache or file system failed, or refused what it was given."""


class PersistenceError(InfrastructureError):
    """The database refused or failed."""


class DuplicateKeyError(PersistenceError):
    """Another row has a value that must be unique; ``constraint`` is its name, or its columns."""

    def __init__(self, message: str = "", *, constraint: str = "") -> None:
        super().__init__(message)
        self.constraint = constraint


class CommitOutcomeUnknownError(InfrastructureError):
    """The connection died between COMMIT and its answer: the work may or may not be stored.

    Retry only what is idempotent, under the same command id.
    """


class SerializationError(InfrastructureError):
    """A value cannot be written as JSON, or stored bytes cannot be read as their type."""

    def __init__(self, message: str = "", *, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name


class EventStoreError(InfrastructureError):
    """The event store refused or failed."""


class DuplicateEventError(EventStoreError):
    """An event with this id is stored already."""

    def __init__(self, message: str = "", *, event_id: str = "") -> None:
        super().__init__(message)
        self.event_id = event_id


class AmbiguousStreamError(EventStoreError):
    """Several aggregate types share the id, so it does not name one stream."""

    def __init__(
        self, message: str = "", *, aggregate_id: str = "", aggregate_types: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.aggregate_id = aggregate_id
        self.aggregate_types = tuple(aggregate_types)


class OutboxError(InfrastructureError):
    """The outbox refused or failed."""


class InboxError(InfrastructureError):
    """The inbox refused or failed."""


class CacheError(InfrastructureError):
    """The cache refused or failed."""


class LockingError(InfrastructureError):
    """A server of locks failed or did not answer: whether the lock is free is not known."""

    def __init__(self, message: str = "", *, resource: str = "") -> None:
        super().__init__(message)
        self.resource = resource


class MessagingError(InfrastructureError):
    """The broker refused or failed."""


class BlobStorageError(InfrastructureError):
    """The blob storage refused or failed."""


class ErrorClass(Enum):
    """What a failure calls for."""

    TRANSIENT = "transient"
    """try again"""
    PERMANENT = "permanent"
    """park it for an operator"""
    BUSINESS = "business"
    """answer it: the domain said no"""


def classify_error(error: BaseException) -> ErrorClass:
    """Tell whether trying again may help.

    An error that is not of this tree counts as transient: a bounded retry of an unknown
    failure does less harm than losing the command.
    """
    if isinstance(error, DomainError):
        return ErrorClass.BUSINESS
    if isinstance(error, _PERMANENT):
        return ErrorClass.PERMANENT
    return ErrorClass.TRANSIENT


_PERMANENT = (
    PermanentCommandError,
    DuplicateCommandError,
    InvalidOperationError,
    ConfigError,
    HandlerError,
    TypeRegistryError,
    SerializationError,
    DuplicateKeyError,
    DuplicateEventError,
    AmbiguousStreamError,
)
