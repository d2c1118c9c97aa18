"""Events that an aggregate has recorded and that are not stored yet."""

from __future__ import annotations

from collections.abc import Sequence

from cqrs_ddd_core.domain import AggregateRoot, DomainEvent
from cqrs_ddd_core.ports import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..exceptions import PastStateError


def collect_recorded_events(
    entity: AggregateRoot, uow: UnitOfWork | None, given: Sequence[object] | None
) -> list[DomainEvent]:
    """Return the events to append, by version, from ``given`` or else the pending events.

    Raises ``PastStateError`` for a past state and copies of it, and ``InvalidOperationError`` if
    events are missing or a new aggregate has none.
    """
    if entity.is_historical:
        raise PastStateError.of_aggregate(entity.aggregate_type, entity.id, entity.version)
    new = _select_new_events(entity, entity.pending_events if given is None else given)
    versions = [event.aggregate_version for event in new]
    recorded = entity.uncommitted_event_count
    if versions != list(range(entity.version + 1, entity.version + recorded + 1)):
        raise InvalidOperationError(
            f"{entity.aggregate_type} {entity.id} recorded {recorded} event(s) after version "
            f"{entity.version}, but the given events have the versions {versions}; pass all "
            "collected events: persist(entity, uow, events=collected)"
        )
    if not entity.version and not new:
        raise InvalidOperationError(
            f"{entity.aggregate_type} {entity.id} is new and has recorded no event, so there is "
            "nothing to keep; let it record one when it is made"
        )
    return new if uow is None else uow.aggregates.exclude_appended(new)


def _select_new_events(entity: AggregateRoot, events: Sequence[object]) -> list[DomainEvent]:
    own_stream = (entity.aggregate_type, str(entity.id))
    new: list[DomainEvent] = []
    for event in events:
        if not isinstance(event, DomainEvent) or event.aggregate_version is None:
            raise InvalidOperationError(
                f"{entity.aggregate_type} {entity.id} cannot be saved with {event!r}, which it has "
                "not recorded; record it with aggregate.add_event"
            )
        is_own = (event.aggregate_type, event.aggregate_id) == own_stream
        if is_own and event.aggregate_version > entity.version:
            new.append(event)
    return new
