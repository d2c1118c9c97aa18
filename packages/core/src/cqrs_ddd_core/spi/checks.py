"""Checks of arguments that stores and repositories share, so that each raises the same errors."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol, runtime_checkable

from ..domain import AggregateRoot, IQueryOptions, ISpecification
from ..ports.event_store import ExpectedVersion, StoredEvent, StreamId
from ..primitives import exceptions as errors


def ensure_expected_version(stream: StreamId, expected: ExpectedVersion | int, actual: int) -> None:
    """Raise ``OptimisticConcurrencyError`` unless a stream at ``actual`` is as expected."""
    if expected is ExpectedVersion.ANY:
        return
    if expected is ExpectedVersion.STREAM_EXISTS:
        fits = actual > 0
    else:
        fits = actual == (0 if expected is ExpectedVersion.NO_STREAM else expected)
    if not fits:
        wanted = expected.value if isinstance(expected, ExpectedVersion) else f"version {expected}"
        raise errors.OptimisticConcurrencyError(
            f"{stream} should be at {wanted}, but it is at "
            f"{f'version {actual}' if actual else 'no stream'}; reload it and retry the command",
            subject=str(stream),
            expected=expected,
            actual=actual or None,
        )


def find_first_versions(events: Iterable[StoredEvent]) -> dict[StreamId, int]:
    """Return the first version of each stream in a batch.

    Raises:
        InvalidOperationError: the events of a stream are not in the order of their versions.
    """
    first: dict[StreamId, int] = {}
    last: dict[StreamId, int] = {}
    for event in events:
        stream, version = event.stream, event.version
        first.setdefault(stream, version)
        before = last.get(stream, 0)
        if version <= before:
            raise errors.InvalidOperationError(
                f"cannot append version {version} of {stream} after version {before}; append the "
                "events of a stream in the order of their versions"
            )
        last[stream] = version
    return first


def ensure_page_limit(limit: int) -> None:
    """Raise ``InvalidOperationError`` unless a page may hold at least one event."""
    if limit < 1:
        raise errors.InvalidOperationError(f"cannot read {limit} events; limit must be at least 1")


def ensure_usable_claim(limit: int, lease: float) -> None:
    """Raise ``InvalidOperationError`` unless ``limit`` and ``lease`` are positive."""
    if limit < 1 or not lease > 0:
        raise errors.InvalidOperationError(
            f"cannot claim {limit} messages for {lease} s; both must be positive"
        )


def ensure_entity_type(entity: object, entity_type: type[AggregateRoot]) -> None:
    """Raise ``InvalidOperationError`` unless the entity has the repository's type."""
    if not isinstance(entity, entity_type):
        raise errors.InvalidOperationError(
            f"this repository stores {entity_type.__name__}, not {type(entity).__name__}; "
            "pass one, or use another repository"
        )


def ensure_distinct(entities: Iterable[AggregateRoot]) -> None:
    """Raise ``InvalidOperationError`` unless ``entities`` is a list with each id once."""
    if not isinstance(entities, Sequence):
        # A generator yields nothing more after the checks of its items.
        raise errors.InvalidOperationError(
            f"add_many takes a list of aggregates, got a {type(entities).__name__}; pass "
            "list(...) of it"
        )
    seen: set[object] = set()
    for entity in entities:
        if entity.id in seen:
            raise errors.InvalidOperationError(
                f"add_many got {entity.aggregate_type} {entity.id} twice; pass it once"
            )
        seen.add(entity.id)


def ensure_searchable(criteria: object) -> None:
    """Raise ``InvalidOperationError`` unless ``criteria`` is a specification or query options."""
    if not isinstance(criteria, (ISpecification, IQueryOptions)):
        raise errors.InvalidOperationError(
            f"cannot search by an object of {type(criteria).__name__}; pass a specification "
            "(is_satisfied_by) or query options"
        )


@runtime_checkable
class _SelectsFields(Protocol):
    """Query options that may select some attributes."""

    @property
    def select_fields(self) -> Collection[str]: ...


@runtime_checkable
class _SelectsDistinct(Protocol):
    """Query options that may leave out rows equal to another one."""

    @property
    def distinct(self) -> bool: ...


def ensure_whole_objects(options: object) -> None:
    """Raise ``InvalidOperationError`` for options that select a part of an object.

    Whole objects differ by their id, so ``distinct`` applies to selected fields only.
    """
    if isinstance(options, _SelectsFields) and options.select_fields:
        raise errors.InvalidOperationError(
            f"cannot read only {', '.join(options.select_fields)}, since objects are read whole; "
            "leave select_fields out, or pass the options to apply_query_options for a select of "
            "your own"
        )
    if isinstance(options, _SelectsDistinct) and options.distinct:
        raise errors.InvalidOperationError(
            "cannot leave out duplicates, since whole objects differ by their id; leave distinct "
            "out, or select fields"
        )
