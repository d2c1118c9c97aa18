"""Batches of events for one projection, with the treatment of poison events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import groupby
from operator import attrgetter

from cqrs_ddd_core import DomainEvent, RetryPolicy, SerializationError, StoredEvent, StreamId
from cqrs_ddd_core.primitives.exceptions import describe_error
from cqrs_ddd_core.spi.tenancy import TENANT_ID, get_metadata_tenant, open_tenant

from ..ports.dead_letters import DeadLetter, DeadLetterState
from .documents import ProjectionDocuments
from .handler import ProjectionHandler


class PoisonEventPolicy(Enum):
    """Treatment of an event that a projection cannot process, after the last retry."""

    QUARANTINE = "quarantine"
    """The event and all later events of its stream become dead letters; other streams continue."""
    SKIP = "skip"
    """The event becomes a dead letter, and its stream continues without it."""
    STOP = "stop"
    """The projection stops before the event."""


TenantStream = tuple[str, StreamId]
"""Tenant and stream."""


@dataclass(frozen=True)
class Item:
    """Event to process: a new one, or the event of a dead letter.

    Attributes:
        stored: the stored event.
        event: the decoded event, None if decoding failed.
        ids: ids of the affected documents.
        error: error of decoding, or of processing the event.
        dead_letter: dead letter to retry, None for a new event.
    """

    stored: StoredEvent
    event: DomainEvent | None = None
    ids: Collection[str] = ()
    error: Exception | None = None
    dead_letter: DeadLetter | None = None

    @property
    def tenant_id(self) -> str:
        """Tenant of the event, "" without one."""
        return get_metadata_tenant(self.stored.metadata)

    @property
    def stream(self) -> TenantStream:
        """Stream of the event, with its tenant."""
        return self.tenant_id, self.stored.stream

    @property
    def position(self) -> int:
        """Global position of the event."""
        assert self.stored.position is not None
        return self.stored.position


def decode_item(
    handler: ProjectionHandler, stored: StoredEvent, dead_letter: DeadLetter | None = None
) -> Item:
    """Return the item of a stored event, with an error if the event cannot be decoded."""
    try:
        event = handler.decode(stored)
        with open_tenant(get_metadata_tenant(stored.metadata)):
            ids = handler.resolve_document_ids(event)
        return Item(stored, event, ids, dead_letter=dead_letter)
    except Exception as error:
        return Item(stored, error=error, dead_letter=dead_letter)


def create_missing_item(dead_letter: DeadLetter) -> Item:
    """Return the item of a dead letter after its event was removed from the store."""
    stored = StoredEvent(
        event_id=dead_letter.event_id,
        event_type=dead_letter.event_type,
        aggregate_id=dead_letter.stream.aggregate_id,
        aggregate_type=dead_letter.stream.aggregate_type,
        version=1,  # Unknown, since a dead letter does not store it.
        payload={},
        metadata={TENANT_ID: dead_letter.tenant_id} if dead_letter.tenant_id else {},
        position=dead_letter.position,
    )
    error = SerializationError(
        f"the event at position {dead_letter.position} does not exist any more; discard the dead "
        "letter",
        type_name=dead_letter.event_type,
    )
    return Item(stored, error=error, dead_letter=dead_letter)


@dataclass
class Batch:
    """Result of processing the events that one transaction commits.

    Attributes:
        projection: name of the projection, for the dead letters.
        blocked: streams whose events wait behind a dead letter, with their tenants.
        tries: number of failed tries of an event, by position.
        retry: number of tries of an event, and pauses between them.
        on_poison: treatment of an event after its last try.
        dead_letters: dead letters to add.
        resolved: dead letters to remove, since their events were processed.
        stopped_at: item before which the batch ended; it is retried later, or stops the projection.
    """

    projection: str
    blocked: set[TenantStream]
    tries: dict[int, int]
    retry: RetryPolicy
    on_poison: PoisonEventPolicy
    dead_letters: list[DeadLetter] = field(default_factory=list)
    resolved: list[DeadLetter] = field(default_factory=list)
    stopped_at: Item | None = None

    def process(
        self,
        items: Iterable[Item],
        handler: ProjectionHandler,
        documents: Mapping[str, ProjectionDocuments],
    ) -> None:
        """Apply the items in order; an event never overtakes an earlier event of its stream.

        Args:
            items: events of any tenants.
            handler: runs in the request context of the tenant of each event.
            documents: documents by tenant.
        """
        for tenant_id, group in groupby(items, attrgetter("tenant_id")):
            with open_tenant(tenant_id):
                self._process(group, handler, documents[tenant_id])
            if self.stopped_at is not None:
                return

    def _process(
        self, items: Iterable[Item], handler: ProjectionHandler, documents: ProjectionDocuments
    ) -> None:
        for item in items:
            if self.blocked and item.stream in self.blocked:
                if item.dead_letter is None:
                    self._add_dead_letter(item, DeadLetterState.WAITING)
                continue
            error = item.error
            if error is None and item.event is not None:
                try:
                    handler.apply(item.event, item.ids, documents)
                except Exception as raised:
                    error = raised
            if error is not None:
                failed = replace(item, error=error)
                if not self._continues_after(failed, error):
                    self.stopped_at = failed
                    return
                continue
            self.tries.pop(item.position, None)
            if item.dead_letter is not None:
                self.resolved.append(item.dead_letter)

    def _continues_after(self, item: Item, error: Exception) -> bool:
        if item.dead_letter is not None:
            tries = item.dead_letter.attempts + 1
            is_skipped = item.dead_letter.state is DeadLetterState.SKIPPED
        else:
            tries = self.tries[item.position] = self.tries.get(item.position, 0) + 1
            if self.retry.should_retry(tries, error) or self.on_poison is PoisonEventPolicy.STOP:
                return False
            del self.tries[item.position]
            is_skipped = self.on_poison is PoisonEventPolicy.SKIP
        state = DeadLetterState.SKIPPED if is_skipped else DeadLetterState.POISON
        self._add_dead_letter(item, state, tries)
        return True

    def _add_dead_letter(self, item: Item, state: DeadLetterState, attempts: int = 0) -> None:
        if state is DeadLetterState.POISON:
            self.blocked.add(item.stream)
        self.dead_letters.append(
            DeadLetter(
                projection=self.projection,
                position=item.position,
                tenant_id=item.tenant_id,
                stream=item.stored.stream,
                event_id=item.stored.event_id,
                event_type=item.stored.event_type,
                state=state,
                error=None if item.error is None else describe_error(item.error),
                attempts=attempts,
            )
        )
