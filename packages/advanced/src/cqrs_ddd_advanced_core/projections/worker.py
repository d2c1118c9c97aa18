"""Background worker that advances projections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypedDict

from cqrs_ddd_core import ExponentialBackoffPolicy, LeaseLostError, RetryPolicy, system_tenant
from cqrs_ddd_core.ports import IClock, IEventStore, IQueueSignal, IWorkerLifecycle, UnitOfWork
from cqrs_ddd_core.ports.event_store import EVENTS_CHANNEL
from cqrs_ddd_core.primitives.background_service import BackgroundService, Loops
from cqrs_ddd_core.primitives.exceptions import describe_error
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_core.spi.waiters import wait_for_notification

from ..exceptions import PoisonEventError, ProjectionVersionError
from ..ports import IDeadLetterStore, IPositionStore
from .batch import PoisonEventPolicy
from .documents import OnChange, get_projection_store
from .handler import ProjectionHandler, ProjectionRegistry
from .run import ProjectionRun, ProjectionRuntime, ensure_usable_time

logger = logging.getLogger(__name__)


class WorkerOptions(TypedDict, total=False):
    """Arguments of a ``ProjectionWorker`` that do not depend on its backend."""

    batch: int
    lease: float
    retry: RetryPolicy | None
    on_poison: PoisonEventPolicy
    poll_interval: float
    clock: IClock | None
    worker_id: str | None
    on_change: OnChange | None


class ProjectionWorker(BackgroundService, IWorkerLifecycle):
    """Worker that advances each projection from its checkpoint, effectively once.

    Any number of workers may run the same projections: one worker holds the lease of each, and the
    documents commit together with a checkpoint that only the lease holder can move. While another
    version of a projection is live, the worker waits until its own version is. A projection that
    stops at a poison event does not stop the others.

    A worker advances the documents of all tenants; the handler works in the request context of the
    tenant of each event.

    Args:
        projections: registry or handlers.
        events: event store.
        positions: store of positions and leases.
        dead_letters: store of dead letters.
        uow_factory: creates units of work with a projection store.
        batch: number of events in one transaction.
        lease: seconds after which another worker takes over from one that has crashed.
        retry: number of tries of a failed event, and pauses between them; permanent errors are not
            retried.
        on_poison: treatment of an event after its last try.
        poll_interval: seconds between looks for new events; ``signal`` ends the wait earlier.
        signal: wake-up notifications of new events.
        clock: measures and waits; by default the system clock.
        worker_id: name in the leases; by default a random one.
        on_change: awaited after the commit with the collection and the ids of the changed
            documents, once for each tenant of their events; errors are logged. Use it to invalidate
            caches.

    Raises:
        ConfigError: a setting is not valid.
    """

    def __init__(
        self,
        projections: ProjectionRegistry | Iterable[ProjectionHandler],
        *,
        events: IEventStore,
        positions: IPositionStore,
        dead_letters: IDeadLetterStore,
        uow_factory: Callable[[], UnitOfWork],
        batch: int = 500,
        lease: float = 30.0,
        retry: RetryPolicy | None = None,
        on_poison: PoisonEventPolicy = PoisonEventPolicy.QUARANTINE,
        poll_interval: float = 1.0,
        signal: IQueueSignal | None = None,
        clock: IClock | None = None,
        worker_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        super().__init__()
        ensure_usable_time("poll_interval", poll_interval)
        self._projections = ProjectionRegistry.create(projections)
        self._runtime = ProjectionRuntime(
            events=events,
            positions=positions,
            dead_letters=dead_letters,
            uow_factory=uow_factory,
            worker_id=worker_id or "",
            batch=batch,
            lease=lease,
            retry=retry or ExponentialBackoffPolicy(max_attempts=3),
            on_poison=on_poison,
            on_change=on_change,
        )
        self._poll_interval = poll_interval
        self._backoff = ExponentialBackoffPolicy(base=poll_interval, maximum=30.0)
        self._signal = signal
        self._clock = clock or SystemClock()
        self._waiting_for_version: set[str] = set()

    def create_loops(self) -> Loops:
        """Return one loop for each projection."""
        return [partial(self._run, each) for each in self._projections]

    async def drain(self) -> int:
        """Advance all projections to the present end; return the number of processed events.

        Projections that other workers run, and projections of which another version is live, are
        skipped.

        Raises:
            PoisonEventError: a projection has to stop before an event.
        """
        total = 0
        with system_tenant():
            for handler in self._projections:
                run = ProjectionRun(handler, self._runtime)
                try:
                    if await self._claim(run):
                        total += await self._advance_to_end(run)
                finally:
                    await run.release_quietly()
        return total

    async def _advance_to_end(self, run: ProjectionRun) -> int:
        total = 0
        while (passed := await run.step()) or run.pause is not None:
            total += passed
            if run.pause is not None:
                await self._clock.sleep(run.pause)
        return total

    async def _run(self, handler: ProjectionHandler) -> None:
        with system_tenant():
            await self._follow(handler)

    async def _follow(self, handler: ProjectionHandler) -> None:
        failures, idle = 0, min(self._poll_interval, self._runtime.lease / 3)
        while not self.is_stopping:
            run = ProjectionRun(handler, self._runtime)
            try:
                if await self._claim(run):
                    await self._follow_with_lease(run, idle)
                else:
                    await self._sleep(idle)
            except PoisonEventError as error:
                logger.error("%s; then start the worker again", error)
                return
            except LeaseLostError as error:
                logger.warning("projection worker: %s", error)
                await self._sleep(idle)
            except Exception as error:
                failures = 1 if run.has_advanced else failures + 1
                text = describe_error(error)
                logger.warning("projection worker: %s: %s, try %d", run.collection, text, failures)
                await self._sleep(self._backoff.get_backoff(failures))
            finally:
                await run.release_quietly()

    async def _follow_with_lease(self, run: ProjectionRun, idle: float) -> None:
        renewed = self._clock.monotonic()
        # Begin the wait before each read, so that a notification during the read is not lost.
        wake_up = asyncio.ensure_future(self._wait_for_events(idle))
        try:
            while not self.is_stopping:
                begin = self._clock.monotonic()
                passed = await run.step()
                is_due = begin - renewed >= self._runtime.lease / 3
                if is_due and not passed:
                    await run.renew()
                if is_due or passed:
                    renewed = begin
                if run.pause is not None:
                    await self._sleep(run.pause)
                elif not passed:
                    await self.wait_or_stop(wake_up)
                if wake_up.done():
                    wake_up = asyncio.ensure_future(self._wait_for_events(idle))
        finally:
            wake_up.cancel()

    async def _claim(self, run: ProjectionRun) -> bool:
        run.handler = await self._find_live(run.handler)
        run.handler.verify()
        try:
            if not await run.claim():
                return False
        except ProjectionVersionError as error:
            if run.collection not in self._waiting_for_version:
                logger.warning("projection worker: %s; it waits for its version", error)
                self._waiting_for_version.add(run.collection)
            return False
        self._waiting_for_version.discard(run.collection)
        async with self._runtime.uow_factory() as uow:
            store = get_projection_store(uow)
            await store.ensure_collection(run.collection, run.handler.fields or None)
        return True

    async def _find_live(self, latest: ProjectionHandler) -> ProjectionHandler:
        versions = self._projections.get_versions(latest.collection)
        if len(versions) == 1:
            return latest
        found = await self._runtime.positions.list_positions([latest.collection])
        return versions.get(found[0].version, latest) if found else latest

    async def _sleep(self, seconds: float) -> None:
        await self.wait(self._clock.sleep(seconds))

    async def _wait_for_events(self, seconds: float) -> None:
        await wait_for_notification(self._signal, EVENTS_CHANNEL, seconds, clock=self._clock)
