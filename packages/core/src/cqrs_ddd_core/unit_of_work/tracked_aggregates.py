"""Aggregates that take part in one transaction."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ..domain import AggregateRoot, DomainEvent
from ..primitives.exceptions import UnsavedChangesError


@dataclass(slots=True)
class _Tracked:
    """Versions of an aggregate that were saved in this transaction."""

    aggregate: AggregateRoot
    saved_version: int | None = None
    appended_version: int | None = None
    recorded_when_saved: int = 0
    is_deleted: bool = False

    @property
    def written_version(self) -> int | None:
        """Version of the saved row, or else of the appended events; both are equal."""
        return self.appended_version if self.saved_version is None else self.saved_version


class TrackedAggregates:
    """Aggregates that repositories loaded and saved in one transaction.

    The aggregates get their new versions when the transaction has committed.
    """

    def __init__(self) -> None:
        # By identity: two copies of one aggregate are two entries, and their versions conflict.
        self._tracked: dict[int, _Tracked] = {}
        self._new: list[AggregateRoot] = []
        self._absent: set[str] = set()
        self._raised: list[DomainEvent] = []
        self._taken: set[str] = set()
        self._appended: set[str] = set()
        self._changed: set[str] = set()

    def track(self, aggregate: AggregateRoot) -> None:
        """Record that a repository returned this aggregate."""
        self._get_entry(aggregate)

    def track_new(self, aggregate: AggregateRoot) -> None:
        """Record that a new aggregate recorded its first event while a command ran."""
        self._new.append(aggregate)

    def mark_absent(self, ids: Collection[object], found: Sequence[AggregateRoot] = ()) -> None:
        """Record the ids for which a repository has found no aggregate.

        Args:
            ids: ids that the repository looked for, each once.
            found: aggregates that it has found.
        """
        if len(found) < len(ids):
            self._absent.update({str(each) for each in ids} - {str(each.id) for each in found})

    def was_absent(self, entity_id: object) -> bool:
        """Return whether a repository found no aggregate with this id, compared as text, here."""
        return str(entity_id) in self._absent

    def mark_saved(self, aggregate: AggregateRoot, version: int) -> None:
        """Record that a repository saved this aggregate as ``version``."""
        entry = self._get_entry(aggregate)
        entry.saved_version = version
        entry.recorded_when_saved = aggregate.uncommitted_event_count
        entry.is_deleted = False
        self._changed.add(str(aggregate.id))

    def mark_appended(self, aggregate: AggregateRoot, events: Iterable[DomainEvent]) -> None:
        """Record that a repository appended the last events of this aggregate to its stream."""
        entry = self._get_entry(aggregate)
        entry.appended_version = aggregate.version + aggregate.uncommitted_event_count
        entry.recorded_when_saved = aggregate.uncommitted_event_count
        entry.is_deleted = False
        self._changed.add(str(aggregate.id))
        self._appended.update(event.event_id for event in events)

    def exclude_appended(self, events: Iterable[DomainEvent]) -> list[DomainEvent]:
        """Return the events that no repository has appended in this transaction."""
        return [event for event in events if event.event_id not in self._appended]

    def mark_deleted(self, entity_type: type[AggregateRoot], entity_id: object) -> None:
        """Record that a repository deleted this aggregate; its earlier events still count."""
        self._changed.add(str(entity_id))
        for entry in self._tracked.values():
            aggregate = entry.aggregate
            if isinstance(aggregate, entity_type) and aggregate.id == entity_id:
                self.mark_saved(aggregate, aggregate.next_version)
                entry.is_deleted = True

    def get_saved_version(self, aggregate: AggregateRoot) -> int | None:
        """Return the version with which this object was last saved here, or None."""
        entry = self._tracked.get(id(aggregate))
        return None if entry is None or entry.is_deleted else entry.saved_version

    def count_unsaved_events(self, aggregate: AggregateRoot) -> int:
        """Return the number of events that were recorded after the last save here."""
        entry = self._tracked.get(id(aggregate))
        return aggregate.uncommitted_event_count - (
            0 if entry is None else entry.recorded_when_saved
        )

    def untrack(self, aggregates: Iterable[AggregateRoot]) -> None:
        """Stop tracking the aggregates that are not saved and have no recorded events."""
        for aggregate in aggregates:
            entry = self._tracked.get(id(aggregate))
            if (
                entry is not None
                and not aggregate.uncommitted_event_count
                and entry.written_version is None
            ):
                del self._tracked[id(aggregate)]

    def has_changed(self, entity_id: object) -> bool:
        """Return whether an aggregate with this id, compared as text, was saved or deleted here."""
        return str(entity_id) in self._changed

    def add_events(self, events: Iterable[DomainEvent]) -> None:
        """Add the events of a handler's response, even if an aggregate has recorded them too."""
        self._raised += events

    def drain_new_events(self) -> list[DomainEvent]:
        """Return the events since the last call, each id once."""
        events: list[DomainEvent] = []
        for entry in self._tracked.values():
            events += entry.aggregate.pending_events
        events += self._raised
        new = [event for event in events if self._is_new(event)]
        self._raised.clear()
        return new

    def _is_new(self, event: DomainEvent) -> bool:
        if event.event_id in self._taken:
            return False
        self._taken.add(event.event_id)
        return True

    def ensure_all_saved(self) -> None:
        """Raise ``UnsavedChangesError`` for events that no repository has saved.

        These are events after the last save of an aggregate, and the events of an aggregate that is
        new in this transaction, unless ``collect_events`` has taken them.
        """
        for entry in self._tracked.values():
            aggregate = entry.aggregate
            unsaved = self.count_unsaved_events(aggregate)
            if unsaved > 0:
                raise UnsavedChangesError.changed_later(
                    aggregate.aggregate_type, aggregate.id, unsaved
                )
        for aggregate in self._new:
            if self._is_forgotten(aggregate):
                raise UnsavedChangesError.never_added(aggregate.aggregate_type, aggregate.id)

    def _is_forgotten(self, aggregate: AggregateRoot) -> bool:
        # Another unit of work may have saved it, or a copy of it may have been saved here.
        return (
            id(aggregate) not in self._tracked
            and not aggregate.is_persisted
            and any(event.event_id not in self._taken for event in aggregate.pending_events)
        )

    def mark_committed(self) -> None:
        """Set the versions of the saved aggregates and clear the events that were drained."""
        for entry in self._tracked.values():
            aggregate = entry.aggregate
            if entry.written_version is not None:
                aggregate.mark_persisted(entry.written_version)
            if self._taken and any(e.event_id in self._taken for e in aggregate.pending_events):
                aggregate.collect_events()

    def _get_entry(self, aggregate: AggregateRoot) -> _Tracked:
        entry = self._tracked.get(id(aggregate))
        if entry is None:
            entry = self._tracked[id(aggregate)] = _Tracked(aggregate)
        return entry
