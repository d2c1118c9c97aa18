"""One projection, taken on by who holds its lease."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.ports.event_store import IEventStore, StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    ConfigError,
    ErrorClass,
    InvalidOperationError,
    SerializationError,
    classify_error,
)
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy, RetryPolicy
from cqrs_ddd_core.primitives.shielding import run_to_completion

from ..exceptions import PoisonEventError
from ..ports.dead_letters import DeadLetter, IDeadLetterStore
from ..ports.positions import Checkpoint, IPositionStore
from .batch import Batch, Item, PoisonEventPolicy, affected_documents, missing, read
from .documents import ProjectionDocuments
from .handler import ProjectionHandler
from .writing import OnChange, load, notify_changes, store_of, write

logger = logging.getLogger(__name__)

_LONGEST = 1e6
"""Seconds that a lease or a pause may have, which is more than a week."""
_GRACE = 5.0
"""Seconds that giving back a lease may take after a cancellation."""


@dataclass(frozen=True, kw_only=True)
class ProjectionRuntime:
    """What projections are taken on with, one and all."""

    events: IEventStore
    positions: IPositionStore
    dead_letters: IDeadLetterStore
    uow_factory: Callable[[], UnitOfWork]
    worker_id: str
    batch: int = 500
    lease: float = 30.0
    retry: RetryPolicy = field(default_factory=lambda: ExponentialBackoffPolicy(max_attempts=3))
    on_poison: PoisonEventPolicy = PoisonEventPolicy.QUARANTINE
    on_change: OnChange | None = None


class ProjectionRun:
    """Batches of events into the view; each is one transaction with the checkpoint.

    Whoever lost the lease meanwhile gets ``LeaseLostError``, and nothing is written.
    """

    def __init__(
        self, handler: ProjectionHandler, around: ProjectionRuntime, suffix: str = ""
    ) -> None:
        self.handler = handler
        self.collection = handler.collection + suffix
        self.pause: float | None = None
        """Seconds until an event is tried again that has failed."""
        self.has_moved = False
        """Whether a batch was committed."""
        self._around = around
        self._checkpoint: Checkpoint | None = None
        self._tries: dict[int, int] = {}
        self._has_letters = False
        # How many batches are taken one event at a time, to find the one that cannot be written.
        self._singles = 0

    @property
    def checkpoint(self) -> Checkpoint:
        if self._checkpoint is None:
            raise InvalidOperationError(f"{self.collection} is not claimed; claim it first")
        return self._checkpoint

    async def claim(self, *, restart: bool = False) -> bool:
        """Whether it is ours; raises as ``IPositionStore.claim``."""
        self._checkpoint = await self._around.positions.claim(
            self.collection,
            self._around.worker_id,
            version=self.handler.version,
            lease=self._around.lease,
            restart=restart,
        )
        if self._checkpoint is not None:
            await self._look_for_letters()
        return self._checkpoint is not None

    async def renew(self) -> None:
        """Raises ``LeaseLostError``."""
        await self._around.positions.renew(self.checkpoint, lease=self._around.lease)

    async def confirm(self, uow: UnitOfWork) -> None:
        """What follows in the transaction happens only if it is still ours; ``LeaseLostError``."""
        self._checkpoint = await self._around.positions.advance(
            self.checkpoint, self.checkpoint.position, lease=self._around.lease, uow=uow
        )

    async def release(self) -> None:
        if self._checkpoint is not None:
            checkpoint, self._checkpoint = self._checkpoint, None
            await self._around.positions.release(checkpoint)

    async def step(self, uow: UnitOfWork | None = None) -> int:
        """Take one batch; answers how many events it got past or took out of dead letters.

        Raises ``PoisonEventError`` where it is to stop at an event.
        """
        self.pause = None
        limit = 1 if self._singles else self._around.batch
        self._singles = max(0, self._singles - 1)
        if self._has_letters:
            due = await self._around.dead_letters.retryable(self.collection, limit=limit, uow=uow)
            if due:
                items = [await self._of(letter) for letter in due]
                is_taken = await self._take(items, self.checkpoint.position, uow)
                return len(items) if is_taken else await self.step(uow)
            await self._look_for_letters()
        page = await self._around.events.get_events_after(self.checkpoint.position, limit)
        if not page:
            return 0
        items = [
            read(self.handler, stored) for stored in page if self.handler.handles(stored.event_type)
        ]
        if not await self._take(items, page[-1].position or 0, uow):
            return await self.step(uow)
        reached = self.checkpoint.position
        return sum((stored.position or 0) <= reached for stored in page)

    async def _take(self, items: Sequence[Item], last: int, uow: UnitOfWork | None) -> bool:
        """Whether it is done; otherwise it is to be done again, one event at a time."""
        try:
            await self._commit(items, last, uow)
        except SerializationError as error:
            # The store refuses a document, and does not know which event made it so.
            if uow is not None:
                raise ConcurrencyError(f"{error}; take it in a transaction of its own") from error
            if not items:
                raise
            if len(items) > 1:
                self._singles = self._around.batch
                return False
            if items[0].error is not None:
                raise
            await self._commit([replace(items[0], error=error)], last, uow)
        return True

    async def _commit(self, items: Sequence[Item], last: int, uow: UnitOfWork | None) -> None:
        with hooks.span("projection.batch", projection=self.collection, events=len(items)):
            if uow is not None:
                batch, documents = await self._fold(items, uow)
                checkpoint = await self._write(batch, documents, last, uow)
            else:
                # Read apart: nothing is locked before the checkpoint is ours, so who is frozen here
                # holds nobody up, and whoever changes the view meanwhile has another epoch.
                async with self._around.uow_factory() as reading:
                    batch, documents = await self._fold(items, reading)
                async with self._around.uow_factory() as own:
                    checkpoint = await self._write(batch, documents, last, own)
        self._checkpoint = checkpoint
        self.has_moved = True
        self._has_letters = self._has_letters or bool(batch.letters)
        if batch.ended_at is not None:
            self._wait_or_stop(batch.ended_at)

    async def _fold(
        self, items: Sequence[Item], uow: UnitOfWork
    ) -> tuple[Batch, ProjectionDocuments]:
        around, documents = self._around, ProjectionDocuments(self.collection)
        held: set[StreamId] = set()
        if self._has_letters:
            streams = {item.stored.stream for item in items if item.letter is None}
            held = await around.dead_letters.blocked_streams(self.collection, streams, uow=uow)
        await load(documents, affected_documents(items), store_of(uow), self.collection, uow)
        batch = Batch(self.collection, held, self._tries, around.retry, around.on_poison)
        batch.take(items, self.handler, documents)
        return batch, documents

    async def _write(
        self, batch: Batch, documents: ProjectionDocuments, last: int, uow: UnitOfWork
    ) -> Checkpoint:
        around = self._around
        position = last if batch.ended_at is None else batch.ended_at.position - 1
        # Before the changes: who was frozen and overtaken stops here.
        checkpoint = await around.positions.advance(
            self.checkpoint, position, lease=around.lease, uow=uow
        )
        changed = await write(documents, store_of(uow), self.collection, uow)
        if batch.resolved:
            await around.dead_letters.remove(batch.resolved, uow=uow)
        if batch.letters:
            await around.dead_letters.add(batch.letters, uow=uow)
        notify_changes(changed, batch.touched, self.collection, around.on_change, uow)
        return checkpoint

    async def _look_for_letters(self) -> None:
        # Only who holds the lease adds any, so it knows of none until it does.
        self._has_letters = bool(
            await self._around.dead_letters.list_dead_letters(self.collection, limit=1)
        )

    async def _of(self, letter: DeadLetter) -> Item:
        found = await self._around.events.get_events_after(letter.position - 1, 1)
        if not found or found[0].position != letter.position:
            return missing(letter)
        return read(self.handler, found[0], letter)

    def _wait_or_stop(self, item: Item) -> None:
        tries = self._tries[item.position]
        error = item.error
        assert error is not None
        if self._around.retry.should_retry(tries, error):
            self.pause = self._around.retry.get_backoff(tries)
            return
        del self._tries[item.position]
        advice = (
            "repair the handler, or run it with on_poison=PoisonEventPolicy.QUARANTINE"
            if classify_error(error) is not ErrorClass.TRANSIENT
            else "look into the error"
        )
        raise PoisonEventError(
            f"the projection {self.collection} stops before {item.stored.event_type} at position "
            f"{item.position}, which failed {tries} times with {error!r}; {advice}",
            projection=self.collection,
            event_type=item.stored.event_type,
            event_id=item.stored.event_id,
            position=item.position,
        ) from error


def ensure_usable_settings(batch: Any, on_poison: Any, **seconds: Any) -> None:
    """Raise ``ConfigError`` for a setting that no worker can use."""
    if type(batch) is not int or batch < 1:
        raise ConfigError(f"batch is a number from 1 on, got {batch!r}", variable="batch")
    if not isinstance(on_poison, PoisonEventPolicy):
        raise ConfigError(
            f"on_poison is one of {', '.join(map(str, PoisonEventPolicy))}, got {on_poison!r}",
            variable="on_poison",
        )
    for name, given in seconds.items():
        if not (isinstance(given, (int, float)) and 0 < given < _LONGEST):
            raise ConfigError(f"{name} is a time in seconds, got {given!r}", variable=name)


async def release_quietly(run: ProjectionRun) -> None:
    """Also when its task was cancelled: or nobody could take over until the lease ends."""
    ended = await run_to_completion(run.release(), grace=_GRACE)
    if ended.interruption is not None:
        raise ended.interruption
    if ended.error is not None:
        logger.warning("the lease of %s is not given back: %r", run.collection, ended.error)
