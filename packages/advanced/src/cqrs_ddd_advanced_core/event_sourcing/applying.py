"""A history upon an aggregate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cqrs_ddd_core.domain.aggregate import AggregateRoot
from cqrs_ddd_core.domain.events import DomainEvent
from cqrs_ddd_core.ports.event_store import StoredEvent
from cqrs_ddd_core.primitives.exceptions import EventStoreError


def apply_history(
    aggregate: AggregateRoot[Any],
    stored: Sequence[StoredEvent],
    decode: Callable[[StoredEvent], DomainEvent],
) -> None:
    """Apply the events after the version of the aggregate; raises ``EventStoreError`` for a gap."""
    for wanted, event in enumerate(stored, aggregate.version + 1):
        if event.version != wanted:
            raise EventStoreError(
                f"{aggregate.aggregate_type} {aggregate.id} has version {event.version} where "
                f"version {wanted} should be; its state cannot be made from events, perhaps it "
                "was once saved without any"
            )
    # All are decoded before the first is applied: an error of decoding is none of applying.
    aggregate.replay([decode(event) for event in stored])
