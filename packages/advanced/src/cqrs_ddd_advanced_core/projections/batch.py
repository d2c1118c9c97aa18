"""Events upon a view, and what becomes of those that fail."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from cqrs_ddd_core.domain.events import DomainEvent
from cqrs_ddd_core.ports.event_store import StoredEvent, StreamId
from cqrs_ddd_core.primitives.exceptions import SerializationError
from cqrs_ddd_core.primitives.retry import RetryPolicy

from ..ports.dead_letters import DeadLetter, DeadLetterState
from .documents import ProjectionDocuments
from .handler import ProjectionHandler


class PoisonEventPolicy(Enum):
    """What becomes of an event that a projection cannot take, when trying again is given up."""

    QUARANTINE = "quarantine"
    """It becomes a dead letter, and so do the next ones of its stream; other streams go on."""
    SKIP = "skip"
    """It becomes a dead letter, and its stream goes on without it."""
    STOP = "stop"
    """The projection stops before it."""


@dataclass(frozen=True)
class Item:
    """An event on its way into the view, new or out of a dead letter."""

    stored: StoredEvent
    event: DomainEvent | None = None
    ids: Collection[str] = ()
    error: Exception | None = None
    letter: DeadLetter | None = None

    @property
    def position(self) -> int:
        assert self.stored.position is not None
        return self.stored.position


def read(handler: ProjectionHandler, stored: StoredEvent, letter: DeadLetter | None = None) -> Item:
    """With the error instead of the event where it cannot be read."""
    try:
        event = handler.decode(stored)
        return Item(stored, event, handler.resolve_document_ids(event), letter=letter)
    except Exception as error:
        return Item(stored, error=error, letter=letter)


@dataclass
class Batch:
    """What is to be committed together.

    Args:
        projection: the name that dead letters get.
        held: streams whose events wait behind a dead letter.
        tries: how often an event has failed, by position.
    """

    projection: str
    blocked: set[StreamId]
    tries: dict[int, int]
    retry: RetryPolicy
    on_poison: PoisonEventPolicy
    letters: list[DeadLetter] = field(default_factory=list)
    resolved: list[DeadLetter] = field(default_factory=list)
    touched: dict[str | None, set[str]] = field(default_factory=dict)
    """Ids of documents by the tenant whose events concern them."""
    ended_at: Item | None = None
    """Where it ended early: the event is tried again later, or stops the projection."""

    def take(
        self, items: Iterable[Item], handler: ProjectionHandler, documents: ProjectionDocuments
    ) -> None:
        """In order; none of one stream overtakes another."""
        for item in items:
            if self.blocked and item.stored.stream in self.blocked:
                if item.letter is None:
                    self._set_aside(item, DeadLetterState.WAITING)
                continue
            failed = _applied(item, handler, documents)
            if failed.error is not None:
                if not self._goes_on_after(failed, failed.error):
                    self.ended_at = failed
                    return
                continue
            self.touched.setdefault(tenant_of(item.event), set()).update(item.ids)
            self.tries.pop(item.position, None)
            if item.letter is not None:
                self.resolved.append(item.letter)

    def _goes_on_after(self, item: Item, error: Exception) -> bool:
        if item.letter is not None:
            is_skipped = item.letter.state is DeadLetterState.SKIPPED
            state = DeadLetterState.SKIPPED if is_skipped else DeadLetterState.POISON
            self._set_aside(item, state, item.letter.attempts + 1)
            return True
        tries = self.tries[item.position] = self.tries.get(item.position, 0) + 1
        if self.retry.should_retry(tries, error) or self.on_poison is PoisonEventPolicy.STOP:
            return False
        is_skipped = self.on_poison is PoisonEventPolicy.SKIP
        state = DeadLetterState.SKIPPED if is_skipped else DeadLetterState.POISON
        self._set_aside(item, state, self.tries.pop(item.position))
        return True

    def _set_aside(self, item: Item, state: DeadLetterState, attempts: int = 0) -> None:
        if state is DeadLetterState.POISON:
            self.blocked.add(item.stored.stream)
        self.letters.append(
            DeadLetter(
                projection=self.projection,
                position=item.position,
                stream=item.stored.stream,
                event_id=item.stored.event_id,
                event_type=item.stored.event_type,
                state=state,
                error=None if item.error is None else repr(item.error),
                attempts=attempts,
            )
        )


def _applied(item: Item, handler: ProjectionHandler, documents: ProjectionDocuments) -> Item:
    if item.error is not None or item.event is None:
        return item
    try:
        handler.apply(item.event, item.ids, documents)
    except Exception as error:
        return replace(item, error=error)
    return item


def tenant_of(event: DomainEvent | None) -> str | None:
    """Who was the tenant of the request that the event comes from."""
    tenant = None if event is None else event.metadata.get("tenant_id")
    return tenant if isinstance(tenant, str) else None


def affected_documents(items: Sequence[Item]) -> set[str]:
    """The documents of all of them."""
    return {each for item in items for each in item.ids}


def missing(letter: DeadLetter) -> Item:
    """A letter whose event is not in the store any more."""
    stored = StoredEvent(
        event_id=letter.event_id,
        event_type=letter.event_type,
        aggregate_id=letter.stream.aggregate_id,
        aggregate_type=letter.stream.aggregate_type,
        version=1,  # Unknown: the letter does not keep it.
        payload={},
        position=letter.position,
    )
    error = SerializationError(
        f"there is no event at position {letter.position} any more; discard the letter",
        type_name=letter.event_type,
    )
    return Item(stored, error=error, letter=letter)
