"""What an aggregate has recorded and nobody has stored."""

from __future__ import annotations

from typing import Any

from cqrs_ddd_core.domain.aggregate import AggregateRoot
from cqrs_ddd_core.domain.events import DomainEvent
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError


def recorded_events(
    entity: AggregateRoot[Any], uow: UnitOfWork | None, given: list[Any] | None
) -> list[DomainEvent]:
    """By version, without a gap, from the pending events or those that are given.

    Raises ``InvalidOperationError`` where some are missing, and for a new aggregate without any.
    """
    new: list[DomainEvent] = []
    for event in entity.pending_events if given is None else given:
        if not isinstance(event, DomainEvent) or event.aggregate_version is None:
            raise InvalidOperationError(
                f"{entity.aggregate_type} {entity.id} cannot be saved with {event!r}, which it has "
                "not recorded; record it with aggregate.add_event"
            )
        is_own = (event.aggregate_type, event.aggregate_id) == (
            entity.aggregate_type,
            str(entity.id),
        )
        if is_own and event.aggregate_version > entity.version:
            new.append(event)
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
