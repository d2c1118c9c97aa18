"""Errors of infrastructure: databases, brokers, caches, locks and files."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, time

from .base import CQRSDDDError, ErrorClass, TransientCommandError, classify_error
from .description import describe_error


class InfrastructureError(CQRSDDDError):
    """A database, broker, cache or file system failed, or rejected its input."""


class PersistenceError(InfrastructureError):
    """The database failed, or rejected a statement."""


class InvalidDataError(PersistenceError):
    """The database cannot store a value, such as a number beyond the range of its column."""

    error_class = ErrorClass.PERMANENT


class ConstraintViolationError(PersistenceError):
    """A change would break a constraint of a table; the same change always fails.

    Attributes:
        constraint: name of the constraint, or of its columns.
    """

    error_class = ErrorClass.PERMANENT

    def __init__(self, message: str = "", *, constraint: str = "") -> None:
        super().__init__(message)
        self.constraint = constraint


class DuplicateKeyError(ConstraintViolationError):
    """Another row has a value that must be unique.

    Attributes:
        constraint: name of the constraint, or of its columns.
    """


class CommitOutcomeUnknownError(InfrastructureError):
    """The connection failed between COMMIT and its reply, so the work may or may not be stored.

    Retry only idempotent work, under the same command id.
    """


class PositionTimeoutError(InfrastructureError):
    """A service has not processed the events up to a position in time.

    Attributes:
        service: name of the service.
        position: global position that the caller waited for.
    """

    def __init__(self, message: str = "", *, service: str = "", position: int = 0) -> None:
        super().__init__(message)
        self.service = service
        self.position = position

    @classmethod
    def not_reached(cls, service: str, position: int, timeout: float) -> PositionTimeoutError:
        """Build the error for a wait of ``timeout`` seconds."""
        return PositionTimeoutError(
            f"{service} has not reached position {position} within {timeout} s; look at its status "
            "in the health of the application, or wait longer",
            service=service,
            position=position,
        )


class SerializationError(InfrastructureError):
    """A value cannot be written as JSON, or stored bytes cannot be read as their type.

    Attributes:
        type_name: name of the type, or of the object with the value.
        field: dotted path of the field at fault, or empty.
    """

    error_class = ErrorClass.PERMANENT

    def __init__(self, message: str = "", *, type_name: str = "", field: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.field = field

    @classmethod
    def not_json(
        cls, subject: str, error: Exception, *, type_name: str, field: str = ""
    ) -> SerializationError:
        """Build the error for a ``subject`` that pydantic could not write."""
        return SerializationError(
            f"{subject} cannot be written as JSON: {describe_error(error)}; "
            "give it values that pydantic writes "
            "as JSON",
            type_name=type_name,
            field=field,
        )

    @classmethod
    def lost_field(cls, type_name: str, field: str, reason: str) -> SerializationError:
        """Build the error for a class with a ``field`` that JSON never keeps.

        Args:
            type_name: name of the class.
            field: dotted path of the field.
            reason: property of the field, and the next step.
        """
        return cls(
            f"JSON does not keep {_join_path(type_name, field)}: it {reason}",
            type_name=type_name,
            field=field,
        )

    @classmethod
    def changed_value(
        cls, type_name: str, field: str, given: object, restored: object
    ) -> SerializationError:
        """Build the error for a value that would be ``restored`` as another one."""
        before, after = type(given).__name__, type(restored).__name__
        change = f"a {before} comes back as a {after}" if before != after else "its value changes"
        advice = "declare the exact type, or use a value that JSON keeps"
        if isinstance(given, (datetime, time)) and isinstance(restored, (datetime, time)):
            change = "a time zone with changing offsets, or with seconds in its offset, is lost"
            advice = "use value.astimezone(timezone.utc), and a field for the name of the zone"
        return cls(
            f"JSON does not keep {_join_path(type_name, field)}: {change}; {advice}",
            type_name=type_name,
            field=field,
        )

    @classmethod
    def not_readable(cls, type_name: str, field: str, reason: str) -> SerializationError:
        """Build the error for a value that could be written, but not read again."""
        return cls(
            f"JSON does not keep {_join_path(type_name, field)}: it could not be read again "
            f"({reason}); use a type that pydantic reads from JSON",
            type_name=type_name,
            field=field,
        )

    @classmethod
    def unknown_type(cls, type_name: str, problem: str) -> SerializationError:
        """Build the error for a type that pydantic cannot write."""
        return cls(
            f"{type_name} cannot be written as JSON: {problem}; declare a type that pydantic knows",
            type_name=type_name,
        )


class EventStoreError(InfrastructureError):
    """The event store failed, or rejected its input."""


class DuplicateEventError(EventStoreError):
    """An event with this id is already stored.

    Attributes:
        event_id: id of the event.
    """

    error_class = ErrorClass.PERMANENT

    def __init__(self, message: str = "", *, event_id: str = "") -> None:
        super().__init__(message)
        self.event_id = event_id

    @classmethod
    def already_stored(cls, event_type: str, event_id: str) -> DuplicateEventError:
        """Build the error for an event with the id of a stored event."""
        return cls(
            f"cannot append {event_type}: an event with id {event_id} is already stored; give "
            "each event its own id",
            event_id=event_id,
        )


class AmbiguousStreamError(EventStoreError):
    """Several aggregate types share the id, so it does not name one stream.

    Attributes:
        aggregate_id: the shared id.
        aggregate_types: stored names of the aggregate types, sorted.
    """

    error_class = ErrorClass.PERMANENT

    def __init__(
        self, message: str = "", *, aggregate_id: str = "", aggregate_types: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.aggregate_id = aggregate_id
        self.aggregate_types = tuple(aggregate_types)

    @classmethod
    def shared_id(cls, aggregate_id: str, types: Collection[str]) -> AmbiguousStreamError:
        """Build the error for an id of several aggregate ``types``."""
        return cls(
            f"{aggregate_id} is the id of a {', a '.join(sorted(types))}; pass aggregate_type=",
            aggregate_id=aggregate_id,
            aggregate_types=sorted(types),
        )


class OutboxError(InfrastructureError):
    """The outbox failed."""


class InboxError(InfrastructureError):
    """The inbox failed."""


class CacheError(InfrastructureError):
    """The cache failed, or rejected its input."""


class LockingError(InfrastructureError):
    """A lock server failed or did not reply, so it is unknown whether the lock is free.

    Attributes:
        resource: name of the resource.
    """

    def __init__(self, message: str = "", *, resource: str = "") -> None:
        super().__init__(message)
        self.resource = resource


class MessagingError(InfrastructureError):
    """The broker failed, or rejected a message."""


class BlobStorageError(InfrastructureError):
    """The blob storage failed, or rejected its input."""


def is_outage(error: BaseException) -> bool:
    """Return whether a server failed or did not reply, so that every call fails at the moment.

    A traceback adds nothing to the name and the text of such an error, and it is logged once for
    many calls. A commit with an unknown outcome does not count, since each may need a check.
    """
    kinds = (InfrastructureError, TransientCommandError, ConnectionError, asyncio.TimeoutError)
    return (
        isinstance(error, kinds)
        and not isinstance(error, CommitOutcomeUnknownError)
        and classify_error(error) is ErrorClass.TRANSIENT
    )


def _join_path(type_name: str, field: str) -> str:
    return f"{type_name}.{field}" if field else type_name
