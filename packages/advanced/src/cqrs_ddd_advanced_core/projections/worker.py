"""Projections that follow the events, beside the requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from cqrs_ddd_core.ports.background_worker import IWorkerLifecycle
from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.ports.event_store import EVENTS_CHANNEL, IEventStore
from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.background_service import BackgroundService
from cqrs_ddd_core.primitives.exceptions import LeaseLostError
from cqrs_ddd_core.primitives.id_generator import uuid4_text
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy, RetryPolicy
from cqrs_ddd_core.spi.system_clock import SystemClock

from ..exceptions import PoisonEventError, ProjectionVersionError
from ..ports.dead_letters import IDeadLetterStore
from ..ports.positions import IPositionStore
from .batch import PoisonEventPolicy
from .handler import ProjectionHandler
from .registry import ProjectionRegistry
from .run import ProjectionRun, ProjectionRuntime, ensure_usable_settings, release_quietly
from .writing import OnChange, store_of

logger = logging.getLogger(__name__)


class ProjectionWorker(BackgroundService, IWorkerLifecycle):
    """Takes each projection on from its checkpoint, effectively once.

    Any number of workers may run the same projections: of each, one worker has the lease, and the
    view commits with a checkpoint that only the holder can move. One whose other version is live
    waits until its own is. A projection that stops at a poison event leaves the others going.

    Args:
        projections: a registry, or handlers.
        batch: how many events are taken in one transaction.
        lease: seconds after which another worker takes over from one that is gone.
        retry: how often an event that fails is tried; errors that trying again cannot cure are not.
        poll_interval: seconds between looks for new events; ``signal`` wakes it earlier.
        on_change: awaited after the commit with the collection and the ids whose documents were
            changed, in the name of the tenant of their events, best effort: for what caches them.
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
        ensure_usable_settings(batch, on_poison, lease=lease, poll_interval=poll_interval)
        self._projections = ProjectionRegistry.of(projections)
        self._around = ProjectionRuntime(
            events=events,
            positions=positions,
            dead_letters=dead_letters,
            uow_factory=uow_factory,
            worker_id=worker_id or uuid4_text(),
            batch=batch,
            lease=lease,
            retry=retry or ExponentialBackoffPolicy(max_attempts=3),
            on_poison=on_poison,
            on_change=on_change,
        )
        self._poll_interval = poll_interval
        self._pause = ExponentialBackoffPolicy(base=poll_interval, maximum=30.0)
        self._signal = signal
        self._clock = clock or SystemClock()
        self._waiting_for_version: set[str] = set()

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._follow(each) for each in self._projections]

    async def drain(self) -> int:
        """Take all projections on to the present end; answers how many events they got past.

        Those that another worker has, and those of which another version is live, are left out.
        Raises ``PoisonEventError``.
        """
        total = 0
        for handler in self._projections:
            run = ProjectionRun(handler, self._around)
            try:
                if await self._claimed(run):
                    total += await self._to_the_end(run)
            finally:
                await release_quietly(run)
        return total

    async def _to_the_end(self, run: ProjectionRun) -> int:
        total = 0
        while (taken := await run.step()) or run.pause is not None:
            total += taken
            if run.pause is not None:
                await self._clock.sleep(run.pause)
        return total

    async def _follow(self, handler: ProjectionHandler) -> None:
        failures, idle = 0, min(self._poll_interval, self._around.lease / 3)
        while not self.is_stopping:
            run = ProjectionRun(handler, self._around)
            try:
                if await self._claimed(run):
                    await self._follow_while_ours(run)
                else:
                    await self._sleep(idle)
            except PoisonEventError as error:
                logger.error("%s; start the worker again afterwards", error)
                return
            except LeaseLostError as error:
                logger.warning("projection worker: %s", error)
                await self._sleep(idle)
            except Exception as error:
                failures = 1 if run.has_moved else failures + 1
                logger.warning("projection worker: %s: %r, try %d", run.collection, error, failures)
                await self._sleep(self._pause.get_backoff(failures))
            finally:
                await release_quietly(run)

    async def _follow_while_ours(self, run: ProjectionRun) -> None:
        idle = min(self._poll_interval, self._around.lease / 3)
        renewed = self._clock.monotonic()
        # Asked for before each look: a hint that comes during the look is not lost.
        hint = self._hint(idle)
        try:
            while not self.is_stopping:
                begin = self._clock.monotonic()
                taken = await run.step()
                is_due = begin - renewed >= self._around.lease / 3
                if is_due and not taken:
                    await run.renew()
                if is_due or taken:
                    renewed = begin
                if run.pause is not None:
                    await self._sleep(run.pause)
                elif not taken:
                    await self.wait_or_stop(hint)
                if hint.done():
                    hint = self._hint(idle)
        finally:
            hint.cancel()

    async def _claimed(self, run: ProjectionRun) -> bool:
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
        async with self._around.uow_factory() as uow:
            await store_of(uow).ensure_collection(run.collection, run.handler.fields)
        return True

    async def _sleep(self, seconds: float) -> None:
        await self.wait(self._clock.sleep(seconds))

    def _hint(self, seconds: float) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._events_or(seconds))

    async def _events_or(self, seconds: float) -> None:
        if self._signal is not None:
            try:
                await self._signal.wait(EVENTS_CHANNEL, seconds)
                return
            except Exception as error:
                logger.warning("projection worker: %r from the signal; polling goes on", error)
        await self._clock.sleep(seconds)
