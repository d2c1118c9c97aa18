"""What stores say when they refuse; fakes and adapters say it in the same words."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Protocol, runtime_checkable

from pydantic_core import PydanticSerializationError, from_json, to_json

from ..domain.aggregate import AggregateRoot
from ..domain.specification import IQueryOptions, ISpecification
from ..ports.event_store import ExpectedVersion, StoredEvent, StreamId
from ..ports.inbox import InboxEntry
from ..ports.outbox import OutboxLease, OutboxMessage
from ..primitives.exceptions import (
    AmbiguousStreamError,
    DuplicateCommandError,
    DuplicateEventError,
    EventStoreError,
    InboxError,
    InvalidOperationError,
    LeaseLostError,
    OptimisticConcurrencyError,
    OutboxError,
    SerializationError,
)


def json_of(value: Any, owner: str, type_name: str) -> bytes:
    """The value as JSON; raises ``SerializationError``, also for NaN and infinity."""
    try:
        written = to_json(value, inf_nan_mode="constants")
        if b"NaN" in written or b"Infinity" in written:
            from_json(written, allow_inf_nan=False)  # As a word in a text it is fine.
    except (PydanticSerializationError, ValueError) as error:
        raise SerializationError(
            f"{owner} cannot be written as JSON: {error}; give it values that are JSON, or that "
            "pydantic writes as JSON",
            type_name=type_name,
        ) from error
    return written


def refuse_unkept(subject: str, *ids: Any) -> None:
    """Raises ``SerializationError`` for ids and names that not every database keeps as they are:
    what is no text, NUL, and half a surrogate pair."""
    try:
        joined = "".join(ids)  # One look for all, since each event has half a dozen.
    except TypeError:
        joined = "\0"
    if _is_kept(joined):
        return
    bad = next(each for each in ids if not (isinstance(each, str) and _is_kept(each)))
    raise SerializationError(
        f"{subject} has {bad!r} for an id or a name, which not every database keeps; give it a "
        "text without NUL and without halves of surrogate pairs",
        type_name=subject,
    )


def _is_kept(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def refuse_unkept_event(event: StoredEvent) -> None:
    """As ``refuse_unkept``."""
    refuse_unkept(
        "a stored event",
        event.event_id,
        event.event_type,
        event.aggregate_id,
        event.aggregate_type,
        event.correlation_id or "",
        event.causation_id or "",
    )


def refuse_unkept_message(message: OutboxMessage) -> None:
    """As ``refuse_unkept``."""
    refuse_unkept(
        "an outbox message",
        message.message_id,
        message.event_type,
        message.partition_key or "",
        message.correlation_id or "",
        message.causation_id or "",
    )


def another_version(
    entity: AggregateRoot[Any], expected: int, actual: int | None
) -> OptimisticConcurrencyError:
    """``actual`` is None where nothing is stored that could be seen."""
    subject = f"{entity.aggregate_type} {entity.id}"
    if actual is not None:
        problem = f"was loaded at version {expected}, but version {actual} is stored"
    elif expected:
        problem = f"was loaded at version {expected}, but nothing is stored"
    else:
        problem = "is new, but something out of sight has its id"
    return OptimisticConcurrencyError(
        f"{subject} {problem}; load it again and decide anew",
        subject=subject,
        expected=expected,
        actual=actual,
    )


def refuse_stranger(entity: object, entity_type: type[AggregateRoot[Any]]) -> None:
    if not isinstance(entity, entity_type):
        raise InvalidOperationError(
            f"this repository keeps {entity_type.__name__}, got {entity!r}; "
            "pass one, or use another repository"
        )


def refuse_twins(entities: Iterable[AggregateRoot[Any]]) -> None:
    """Two of one id cannot be saved at once: which of them would be the last?"""
    seen: set[object] = set()
    for entity in entities:
        if entity.id in seen:
            raise InvalidOperationError(
                f"{entity.aggregate_type} {entity.id} was given twice; add_many takes each once"
            )
        seen.add(entity.id)


def no_bulk(repository: object) -> InvalidOperationError:
    return InvalidOperationError(
        f"what {type(repository).__name__} is laid over has no add_many; call add for each within "
        "one unit of work, or lay it over an IBulkRepository"
    )


def refuse_other_criteria(criteria: object) -> None:
    if not isinstance(criteria, (ISpecification, IQueryOptions)):
        raise InvalidOperationError(
            f"cannot search by {criteria!r}; pass a specification (is_satisfied_by) or query "
            "options"
        )


@runtime_checkable
class _SelectsFields(Protocol):
    """Query options that may ask for some attributes alone."""

    @property
    def select_fields(self) -> Collection[str]: ...


@runtime_checkable
class _CountsAlikeOnce(Protocol):
    """Query options that may leave out rows that are like another one."""

    @property
    def distinct(self) -> bool: ...


def refuse_selected_fields(options: object) -> None:
    """Raises ``InvalidOperationError`` for options that ask for a part of an aggregate, also for
    those that ask for ``distinct`` ones, which whole aggregates are."""
    if isinstance(options, _SelectsFields) and options.select_fields:
        raise InvalidOperationError(
            f"an aggregate is read whole, not {', '.join(options.select_fields)} of it; for a "
            "read model apply the options to a select of your own by apply_query_options"
        )
    if isinstance(options, _CountsAlikeOnce) and options.distinct:
        raise InvalidOperationError(
            "distinct is for selected fields, since what is read whole differs by its id; leave it "
            "out"
        )


def refuse_version_below_one(event: StoredEvent) -> None:
    if event.version < 1:
        raise EventStoreError(
            f"{event.event_type} {event.event_id} has version {event.version}; versions of a "
            "stream count from 1"
        )


def refuse_unexpected(stream: StreamId, expected: ExpectedVersion | int, actual: int) -> None:
    """Raises ``OptimisticConcurrencyError`` unless a stream at ``actual`` is as expected."""
    if expected is ExpectedVersion.ANY:
        return
    if expected is ExpectedVersion.STREAM_EXISTS:
        fits = actual > 0
    else:
        fits = actual == (0 if expected is ExpectedVersion.NO_STREAM else expected)
    if not fits:
        wanted = expected.value if isinstance(expected, ExpectedVersion) else f"version {expected}"
        raise OptimisticConcurrencyError(
            f"{_label(stream)} should be at {wanted}, but it is at "
            f"{f'version {actual}' if actual else 'no stream'}; load it again and decide anew",
            subject=_label(stream),
            expected=expected,
            actual=actual or None,
        )


def version_taken(event: StoredEvent, actual: int) -> OptimisticConcurrencyError:
    return OptimisticConcurrencyError(
        f"{_label(event.stream)} has a version {event.version} already, it is at {actual}; "
        "load it again and decide anew",
        subject=_label(event.stream),
        expected=event.version - 1,
        actual=actual,
    )


def event_stored_already(event: StoredEvent) -> DuplicateEventError:
    return DuplicateEventError(
        f"an event with id {event.event_id} is stored already, so {event.event_type} is not "
        "appended; give each event an id of its own",
        event_id=event.event_id,
    )


def ambiguous_stream(aggregate_id: str, types: Collection[str]) -> AmbiguousStreamError:
    return AmbiguousStreamError(
        f"{aggregate_id} is an id of {', '.join(sorted(types))}; pass aggregate_type=",
        aggregate_id=aggregate_id,
        aggregate_types=sorted(types),
    )


def message_saved_already(message_id: str) -> OutboxError:
    return OutboxError(
        f"a message with id {message_id} is in the outbox already; give each an id of its own"
    )


def message_not_parked(message_id: str) -> OutboxError:
    return OutboxError(f"message {message_id} is not parked; parked() lists those that are")


def lease_over(lease: OutboxLease) -> LeaseLostError:
    return LeaseLostError(
        f"the lease of outbox key {lease.key} (epoch {lease.epoch}) is over; "
        "another relay publishes it now",
        resource=lease.key,
    )


def refuse_unusable_claim(limit: int, lease: float) -> None:
    if limit < 1 or not lease > 0:
        raise InvalidOperationError(
            f"cannot claim {limit} messages for {lease} s; both must be positive"
        )


def lease_key_of(message: OutboxMessage) -> str:
    """Without a partition key no order is asked for: each message is a key of its own."""
    if message.partition_key is None:
        return f"message {message.message_id}"
    return message.partition_key


def refuse_another_content(known: InboxEntry, fingerprint: str) -> None:
    if known.fingerprint != fingerprint:
        raise DuplicateCommandError(
            f"{known.consumer} has handled a message with id {known.message_id} and another "
            "content; give each message an id of its own",
            command_id=known.message_id,
        )


def not_registered(consumer: str, message_id: str) -> InboxError:
    return InboxError(f"{consumer} has not registered message {message_id}; register it first")


def _label(stream: StreamId) -> str:
    return f"{stream.aggregate_type} {stream.aggregate_id}"
