"""One projection, advanced by the worker that holds its lease."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cqrs_ddd_core import ExponentialBackoffPolicy, IEventStore, RetryPolicy, StreamId, UnitOfWork
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.primitives.id_generator import uuid4_text
from cqrs_ddd_core.primitives.shielding import run_to_completion
from cqrs_ddd_core.spi.tenancy import open_tenant

from ..exceptions import PoisonEventError
from ..ports import Checkpoint, DeadLetter, IDeadLetterStore, IPositionStore
from .batch import Batch, Item, PoisonEventPolicy, TenantStream, create_missing_item, decode_item
from .documents import OnChange, TenantDocuments
from .handler import ProjectionHandler

logger = logging.getLogger(__name__)

_LONGEST = 1e6
"""Seconds of the longest lease or pause: more than a week."""
_GRACE = 5.0
"""Seconds that releasing a lease may take after a cancellation."""


@dataclass(kw_only=True)
class ProjectionRuntime:
    """Stores and settings with which projections are advanced.

    Attributes:
        events: event store.
        positions: store of positions and leases.
        dead_letters: store of dead letters.
        uow_factory: creates units of work with a projection store.
        worker_id: name in the leases; by default a random one.
        batch: number of events in one transaction.
        lease: seconds after which another worker may take over.
        retry: number of tries of a failed event, and pauses between them.
        on_poison: treatment of an event after its last try.
        on_change: awaited after the commit with the ids of the changed documents.

    Raises:
        ConfigError: a setting is not valid.
    """

    events: IEventStore
    positions: IPositionStore
    dead_letters: IDeadLetterStore
    uow_factory: Callable[[], UnitOfWork]
    worker_id: str = ""
    batch: int = 500
    lease: float = 30.0
    retry: RetryPolicy = field(default_factory=lambda: ExponentialBackoffPolicy(max_attempts=3))
    on_poison: PoisonEventPolicy = PoisonEventPolicy.QUARANTINE
    on_change: OnChange | None = None

    def __post_init__(self) -> None:
        self.worker_id = self.worker_id or uuid4_text()
        check = errors.arguments
        check.ensure_instance(self.events, IEventStore, "events")
        check.ensure_instance(self.positions, IPositionStore, "positions")
        check.ensure_instance(self.dead_letters, IDeadLetterStore, "dead_letters")
        check.ensure_factory(
            self.uow_factory, UnitOfWork, "uow_factory", example="backend.unit_of_work"
        )
        batch: object = self.batch
        if type(batch) is not int or batch < 1:
            raise errors.ConfigError(f"batch must be at least 1, got {batch!r}", variable="batch")
        if not isinstance(self.on_poison, PoisonEventPolicy):
            raise errors.ConfigError(
                f"on_poison must be one of {', '.join(map(str, PoisonEventPolicy))}, got "
                f"{self.on_poison!r}",
                variable="on_poison",
            )
        ensure_usable_time("lease", self.lease)


class ProjectionRun:
    """Run of one projection by batches of events; a batch commits together with the checkpoint.

    It runs inside ``system_tenant``, and the handler in the request context of each event's tenant.

    If the worker has lost the lease, nothing is written and ``LeaseLostError`` is raised.

    Args:
        handler: handler of the projection.
        runtime: stores and settings.
        suffix: text that is appended to the collection, for a rebuild.
    """

    def __init__(
        self, handler: ProjectionHandler, runtime: ProjectionRuntime, suffix: str = ""
    ) -> None:
        self.handler = handler
        self.collection = handler.collection + suffix
        self.pause: float | None = None
        """Seconds until a failed event is tried again."""
        self.has_advanced = False
        """True once a batch was committed."""
        self._runtime = runtime
        self._checkpoint: Checkpoint | None = None
        self._tries: dict[int, int] = {}
        self._has_dead_letters = False
        # Number of events to process one by one, to find the document that cannot be stored.
        self._singles = 0

    @property
    def checkpoint(self) -> Checkpoint:
        """Checkpoint of the lease; raises ``InvalidOperationError`` before ``claim``."""
        if self._checkpoint is None:
            raise errors.InvalidOperationError(
                f"{self.collection} is not claimed; call claim() first"
            )
        return self._checkpoint

    async def claim(self, *, restart: bool = False) -> bool:
        """Lease the projection; return False while another worker holds the lease."""
        self._checkpoint = await self._runtime.positions.claim(
            self.collection,
            self._runtime.worker_id,
            version=self.handler.version,
            lease=self._runtime.lease,
            restart=restart,
        )
        if self._checkpoint is not None:
            await self._look_for_dead_letters()
        return self._checkpoint is not None

    async def renew(self) -> None:
        """Extend the lease; raise ``LeaseLostError`` if another worker has claimed it."""
        await self._runtime.positions.renew(self.checkpoint, lease=self._runtime.lease)

    async def confirm(self, uow: UnitOfWork) -> None:
        """Let the transaction commit only if the lease is still valid."""
        self._checkpoint = await self._runtime.positions.advance(
            self.checkpoint, self.checkpoint.position, lease=self._runtime.lease, uow=uow
        )

    async def release(self) -> None:
        """Release the lease, if the worker holds one."""
        if self._checkpoint is not None:
            checkpoint, self._checkpoint = self._checkpoint, None
            await self._runtime.positions.release(checkpoint)

    async def release_quietly(self) -> None:
        """Release the lease even after a cancellation, so that another worker can take over."""
        ended = await run_to_completion(self.release(), grace=_GRACE)
        if ended.interruption is not None:
            raise ended.interruption
        if ended.error is not None:
            text = errors.describe_error(ended.error)
            logger.warning("the lease of %s is not released: %s", self.collection, text)

    async def step(self, uow: UnitOfWork | None = None) -> int:
        """Process one batch; return the number of processed events or retried dead letters.

        Args:
            uow: unit of work of the batch; by default a new one.

        Raises:
            PoisonEventError: the projection has to stop before an event.
        """
        self.pause = None
        limit = 1 if self._singles else self._runtime.batch
        self._singles = max(0, self._singles - 1)
        if self._has_dead_letters:
            dead_letters = self._runtime.dead_letters
            due = await dead_letters.retryable(self.collection, limit=limit, uow=uow)
            if due:
                items = [await self._read_event(each) for each in due]
                is_done = await self._process(items, self.checkpoint.position, uow)
                return len(items) if is_done else await self.step(uow)
            await self._look_for_dead_letters()
        page = await self._runtime.events.get_events_after(self.checkpoint.position, limit)
        if not page:
            return 0
        handler = self.handler
        items = [decode_item(handler, each) for each in page if handler.handles(each.event_type)]
        if not await self._process(items, page[-1].position or 0, uow):
            return await self.step(uow)
        reached = self.checkpoint.position
        return sum((stored.position or 0) <= reached for stored in page)

    async def _process(self, items: Sequence[Item], last: int, uow: UnitOfWork | None) -> bool:
        """Commit the items; return False if they have to be processed again, one by one."""
        try:
            await self._commit(items, last, uow)
        except errors.SerializationError as error:
            # The store does not know which event produced the rejected document.
            if uow is not None:
                raise errors.ConcurrencyError(
                    f"{error}; retry it in a separate transaction"
                ) from error
            if not items:
                raise
            if len(items) > 1:
                self._singles = self._runtime.batch
                return False
            if items[0].error is not None:
                raise
            await self._commit([replace(items[0], error=error)], last, uow)
        return True

    async def _commit(self, items: Sequence[Item], last: int, uow: UnitOfWork | None) -> None:
        with hooks.span("projection.batch", projection=self.collection, events=len(items)):
            if uow is not None:
                batch, documents = await self._apply(items, uow)
                checkpoint = await self._write(batch, documents, last, uow)
            else:
                # The reads have a transaction of their own, which locks nothing, so a frozen worker
                # cannot block another one. If the documents change between both transactions,
                # the epoch has changed too, and the second transaction fails.
                async with self._runtime.uow_factory() as reading:
                    batch, documents = await self._apply(items, reading)
                async with self._runtime.uow_factory() as own:
                    checkpoint = await self._write(batch, documents, last, own)
        self._checkpoint = checkpoint
        self.has_advanced = True
        self._has_dead_letters = self._has_dead_letters or bool(batch.dead_letters)
        if batch.stopped_at is not None:
            self._pause_or_stop(batch.stopped_at)

    async def _apply(self, items: Sequence[Item], uow: UnitOfWork) -> tuple[Batch, TenantDocuments]:
        runtime, documents = self._runtime, TenantDocuments(self.collection)
        blocked = await self._find_blocked(items, uow) if self._has_dead_letters else set()
        ids: dict[str, set[str]] = {}
        for item in items:
            ids.setdefault(item.tenant_id, set()).update(item.ids)
        await documents.load(ids, uow)
        batch = Batch(self.collection, blocked, self._tries, runtime.retry, runtime.on_poison)
        batch.process(items, self.handler, documents)
        return batch, documents

    async def _find_blocked(self, items: Sequence[Item], uow: UnitOfWork) -> set[TenantStream]:
        streams: dict[str, set[StreamId]] = {}
        for item in items:
            if item.dead_letter is None:
                streams.setdefault(item.tenant_id, set()).add(item.stored.stream)
        find, blocked = self._runtime.dead_letters.blocked_streams, set[TenantStream]()
        for tenant_id, own in streams.items():
            with open_tenant(tenant_id):
                found = await find(self.collection, own, uow=uow)
            blocked |= {(tenant_id, stream) for stream in found}
        return blocked

    async def _write(
        self, batch: Batch, documents: TenantDocuments, last: int, uow: UnitOfWork
    ) -> Checkpoint:
        runtime = self._runtime
        position = last if batch.stopped_at is None else batch.stopped_at.position - 1
        # Advance before writing documents, so that a worker without the lease stops here.
        checkpoint = await runtime.positions.advance(
            self.checkpoint, position, lease=runtime.lease, uow=uow
        )
        await documents.save(uow, runtime.on_change)
        if batch.resolved:
            await runtime.dead_letters.remove(batch.resolved, uow=uow)
        if batch.dead_letters:
            await runtime.dead_letters.add(batch.dead_letters, uow=uow)
        return checkpoint

    async def _look_for_dead_letters(self) -> None:
        # Only the lease holder adds dead letters, so one read is enough until it does.
        dead_letters = self._runtime.dead_letters
        found = await dead_letters.list_dead_letters(self.collection, limit=1)
        self._has_dead_letters = bool(found)

    async def _read_event(self, dead_letter: DeadLetter) -> Item:
        found = await self._runtime.events.get_events_after(dead_letter.position - 1, 1)
        if not found or found[0].position != dead_letter.position:
            return create_missing_item(dead_letter)
        return decode_item(self.handler, found[0], dead_letter)

    def _pause_or_stop(self, item: Item) -> None:
        tries, error = self._tries[item.position], item.error
        assert error is not None
        if self._runtime.retry.should_retry(tries, error):
            self.pause = self._runtime.retry.get_backoff(tries)
            return
        del self._tries[item.position]
        stopped = PoisonEventError.stopped_before(item.stored, self.collection, tries, error)
        raise stopped from errors.ConcealedError(error)


def ensure_usable_time(name: str, seconds: object) -> None:
    """Raise ``ConfigError`` unless the setting is a positive number of seconds."""
    if not (isinstance(seconds, (int, float)) and 0 < seconds < _LONGEST):
        raise errors.ConfigError(
            f"{name} must be a positive number of seconds, got {seconds!r}", variable=name
        )
