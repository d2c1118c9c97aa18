"""Rebuild of a projection from all events, while the live documents are read and written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cqrs_ddd_core import ConcurrencyError, IClock, IEventLog, LeaseLostError, UnitOfWork
from cqrs_ddd_core.context import request_context, system_tenant
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy, RetryPolicy
from cqrs_ddd_core.spi.system_clock import SystemClock

from ..exceptions import ProjectionError, ProjectionStoreError, ProjectionVersionError
from ..ports import DeadLetter, IDeadLetterStore, IPositionStore, ProjectionPosition
from .batch import PoisonEventPolicy
from .documents import get_projection_store
from .handler import REBUILD_SUFFIX, ProjectionHandler, ensure_handler
from .run import ProjectionRun, ProjectionRuntime

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RebuildProgress:
    """Progress of a rebuild.

    Attributes:
        position: global position of the last event that the rebuild has applied.
        target: global position to reach, which grows with new events.
    """

    position: int
    target: int


OnProgress = Callable[[RebuildProgress], object]


class ProjectionRebuild:
    """Rebuild that applies all events to a new collection, and then replaces the live one by it.

    It rebuilds the documents of all tenants.

    One transaction replaces the documents, the checkpoint and the dead letters: the worker that
    advanced the old documents loses its lease, no event is skipped or applied twice, and readers
    see either all of the old documents or all of the new ones.

    Args:
        handler: handler of the live version, to repair its documents, or of a later version.
        events: event store.
        positions: store of positions and leases.
        dead_letters: store of dead letters.
        uow_factory: creates units of work with a projection store.
        batch: number of events in one transaction.
        lease: seconds after which another rebuild may take over from one that has crashed.
        retry: number of tries to replace the live collection while readers block it, and pauses
            between them.
        on_poison: treatment of an event that the handler cannot process.
        on_progress: called after each batch.
        clock: waits between tries; by default the system clock.
        worker_id: name in the lease; by default a random one.
    """

    def __init__(
        self,
        handler: ProjectionHandler,
        *,
        events: IEventLog,
        positions: IPositionStore,
        dead_letters: IDeadLetterStore,
        uow_factory: Callable[[], UnitOfWork],
        batch: int = 1000,
        lease: float = 30.0,
        retry: RetryPolicy | None = None,
        on_poison: PoisonEventPolicy = PoisonEventPolicy.STOP,
        on_progress: OnProgress | None = None,
        clock: IClock | None = None,
        worker_id: str | None = None,
    ) -> None:
        ensure_handler(handler)
        self._handler = handler
        self._events = events
        self._runtime = ProjectionRuntime(
            events=events,
            positions=positions,
            dead_letters=dead_letters,
            uow_factory=uow_factory,
            worker_id=worker_id or "",
            batch=batch,
            lease=lease,
            on_poison=on_poison,
        )
        self._retry = retry or ExponentialBackoffPolicy(max_attempts=20, maximum=5.0)
        self._on_progress = on_progress
        self._clock = clock or SystemClock()
        self._may_replace_later = False

    async def run(self, *, resume: bool = False, replace_later: bool = False) -> int:
        """Rebuild and replace the live collection; return the position of the new documents.

        If the rebuild fails, the live documents stay unchanged.

        Args:
            resume: whether to continue a rebuild of the same version that was cancelled or killed.
                The handler must be the same; without such a rebuild, this one begins at the first
                event.
            replace_later: whether to replace documents of a later version, too, as after a release
                that was taken back.

        Raises:
            ProjectionVersionError: a later version is live, and ``replace_later`` is False.
            ProjectionError: another rebuild is running.
            PoisonEventError: the handler cannot process an event.
            ConcurrencyError: other transactions blocked every try to replace the live
                collection.
        """
        self._handler.verify()
        self._may_replace_later = replace_later
        with system_tenant():
            return await self._run(resume=resume)

    async def _run(self, *, resume: bool) -> int:
        live = await self._runtime.positions.list_positions([self._handler.collection])
        self._ensure_replaceable(live[0] if live else None)
        run = ProjectionRun(self._handler, self._runtime, REBUILD_SUFFIX)
        is_begun = await self._exists(run.collection)
        try:
            await self._claim(run, restart=not (resume and is_begun))
            await self._begin(run)
            return await self._catch_up_and_swap(run)
        finally:
            await run.release_quietly()

    async def _exists(self, collection: str) -> bool:
        try:
            with request_context():
                async with self._runtime.uow_factory() as uow:
                    await get_projection_store(uow).get(collection, "any", uow=uow)
        except ProjectionStoreError:
            return False
        return True

    async def _claim(self, run: ProjectionRun, *, restart: bool = False) -> None:
        if not await run.claim(restart=restart):
            raise ProjectionError(
                f"another rebuild of {self._handler.collection} is running; wait until it ends or "
                "its lease expires",
                projection=self._handler.collection,
            )

    async def _begin(self, run: ProjectionRun) -> None:
        if run.checkpoint.position == 0:
            # Remove the documents of an abandoned rebuild, which may have other fields.
            dead_letters, left = self._runtime.dead_letters, list[DeadLetter]()
            while page := await dead_letters.list_dead_letters(
                run.collection, after=left[-1].position if left else 0
            ):
                left += page
            async with self._runtime.uow_factory() as uow:
                await run.confirm(uow)
                await get_projection_store(uow).drop_collection(run.collection, uow=uow)
                await dead_letters.remove(left, uow=uow)
        async with self._runtime.uow_factory() as uow:
            store = get_projection_store(uow)
            await store.ensure_collection(run.collection, self._handler.fields or None)

    async def _catch_up_and_swap(self, run: ProjectionRun) -> int:
        tries = 0
        while True:
            await self._catch_up(run)
            try:
                return await self._swap(run)
            except LeaseLostError:
                raise
            except ConcurrencyError as error:
                tries += 1
                if not self._retry.should_retry(tries, error):
                    raise
                logger.info("rebuild of %s: %s; try %d", self._handler.collection, error, tries)
                await self._clock.sleep(self._retry.get_backoff(tries))
                await self._claim(run)  # The rollback undid the events that the swap applied.

    async def _catch_up(self, run: ProjectionRun) -> None:
        target = await self._events.latest_position()
        while run.checkpoint.position < target:
            passed = await run.step()
            if run.pause is not None:
                await self._clock.sleep(run.pause)
            elif not passed:
                return
            self._report(run, target)

    async def _swap(self, run: ProjectionRun) -> int:
        name = self._handler.collection
        async with self._runtime.uow_factory() as uow:
            live = await self._runtime.positions.lock_exclusive(name, uow=uow)
            self._ensure_replaceable(live)
            target = 0
            if live is not None:
                # Inline documents contain all committed events, even events that readers of the
                # store do not get yet, since an earlier append is still running.
                inline = live.position is None
                target = await self._events.highest_position() if inline else live.position or 0
            while run.checkpoint.position < target and await run.step(uow):
                self._report(run, target)
            if run.checkpoint.position < target:
                raise ConcurrencyError(f"the rebuild of {name} is behind the live documents; retry")
            await self._runtime.positions.replace(name, run.checkpoint, uow=uow)
            await get_projection_store(uow).replace_collection(name, run.collection, uow=uow)
            await self._runtime.dead_letters.replace(name, run.collection, uow=uow)
        return run.checkpoint.position

    def _report(self, run: ProjectionRun, target: int) -> None:
        if self._on_progress is not None:
            position = run.checkpoint.position
            self._on_progress(RebuildProgress(position, max(position, target)))

    def _ensure_replaceable(self, live: ProjectionPosition | None) -> None:
        version = self._handler.version
        if live is not None and live.version > version and not self._may_replace_later:
            raise ProjectionVersionError.later_is_live(live.projection, version, live.version)
