"""A view made anew beside the one that is read, and put in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.ports.event_store import IEventLog
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError, LeaseLostError
from cqrs_ddd_core.primitives.id_generator import uuid4_text
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy, RetryPolicy
from cqrs_ddd_core.spi.system_clock import SystemClock

from ..exceptions import ProjectionError, ProjectionStoreError, ProjectionVersionError
from ..ports.dead_letters import DeadLetter, IDeadLetterStore
from ..ports.positions import IPositionStore, ProjectionPosition
from .batch import PoisonEventPolicy
from .handler import REBUILD_SUFFIX, ProjectionHandler
from .run import ProjectionRun, ProjectionRuntime, ensure_usable_settings, release_quietly
from .writing import store_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RebuildProgress:
    """How far a rebuild got: the ``position`` of ``target``, which new events move on."""

    position: int
    target: int


OnProgress = Callable[[RebuildProgress], object]


class ProjectionRebuild:
    """Folds all events into a new collection while the live one is read and written.

    Then, in one transaction, the new documents take the place of the old ones and the checkpoint
    goes with them: whoever took the live one on is cut off, no event is left out or taken twice,
    and readers see all of the old or all of the new.

    Args:
        handler: of the version that is live, to repair it, or of a later one.
        on_progress: called after each batch.
        retry: how often, and after which pauses, the swap is tried while readers hold it up.
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
        ensure_usable_settings(batch, on_poison, lease=lease)
        self._handler = handler
        self._events = events
        self._around = ProjectionRuntime(
            events=events,
            positions=positions,
            dead_letters=dead_letters,
            uow_factory=uow_factory,
            worker_id=worker_id or uuid4_text(),
            batch=batch,
            lease=lease,
            on_poison=on_poison,
        )
        self._retry = retry or ExponentialBackoffPolicy(max_attempts=20, maximum=5.0)
        self._on_progress = on_progress
        self._clock = clock or SystemClock()

    async def run(self, *, resume: bool = False) -> int:
        """Rebuild and swap; answers the position of the new view.

        With ``resume`` it goes on where a rebuild of the same version was cancelled or killed,
        which is right as long as the handler is the same; else it begins at the first event.

        Raises ``ProjectionVersionError`` when a later version is live, ``ProjectionError`` when
        another rebuild is under way, ``PoisonEventError`` for an event that the handler cannot
        take, and ``ConcurrencyError`` when the swap never got its turn; the live view is then as it
        was.
        """
        self._handler.verify()
        live = await self._around.positions.positions([self._handler.collection])
        self._ensure_not_later(live[0] if live else None)
        run = ProjectionRun(self._handler, self._around, REBUILD_SUFFIX)
        is_begun = await self._is_there(run.collection)
        try:
            await self._claim(run, restart=not (resume and is_begun))
            await self._begin(run)
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
                    await self._claim(run)  # What the swap took was rolled back with it.
        finally:
            await release_quietly(run)

    async def _is_there(self, collection: str) -> bool:
        """A store that can never put one collection in the place of another says so here."""
        try:
            async with self._around.uow_factory() as uow:
                await store_of(uow).get(collection, "any", uow=uow)
        except ProjectionStoreError:
            return False
        return True

    async def _claim(self, run: ProjectionRun, *, restart: bool = False) -> None:
        if not await run.claim(restart=restart):
            raise ProjectionError(
                f"a rebuild of {self._handler.collection} is under way elsewhere; wait for its "
                "end, or for the end of its lease",
                projection=self._handler.collection,
            )

    async def _begin(self, run: ProjectionRun) -> None:
        if run.checkpoint.position == 0:
            # Whatever a rebuild has left that was given up, perhaps of another shape.
            dead_letters, left = self._around.dead_letters, list[DeadLetter]()
            while page := await dead_letters.list_dead_letters(
                run.collection, after=left[-1].position if left else 0
            ):
                left += page
            async with self._around.uow_factory() as uow:
                await run.confirm(uow)
                await store_of(uow).drop_collection(run.collection, uow=uow)
                await dead_letters.remove(left, uow=uow)
        async with self._around.uow_factory() as uow:
            await store_of(uow).ensure_collection(run.collection, self._handler.fields)

    async def _catch_up(self, run: ProjectionRun) -> None:
        target = await self._events.latest_position()
        while run.checkpoint.position < target:
            taken = await run.step()
            if run.pause is not None:
                await self._clock.sleep(run.pause)
            elif not taken:
                return
            self._tell(run, target)

    async def _swap(self, run: ProjectionRun) -> int:
        name = self._handler.collection
        async with self._around.uow_factory() as uow:
            live = await self._around.positions.lock_exclusive(name, uow=uow)
            self._ensure_not_later(live)
            target = 0
            if live is not None:
                # Of an inline one all is to be there that is committed, also what no reader gets
                # yet because of somebody who still appends.
                inline = live.position is None
                target = await self._events.highest_position() if inline else live.position or 0
            while run.checkpoint.position < target and await run.step(uow):
                self._tell(run, target)
            if run.checkpoint.position < target:
                raise ConcurrencyError(f"the rebuild of {name} is behind the live one; go on")
            await self._around.positions.replace(name, run.checkpoint, uow=uow)
            await store_of(uow).replace_collection(name, run.collection, uow=uow)
            await self._around.dead_letters.replace(name, run.collection, uow=uow)
        return run.checkpoint.position

    def _tell(self, run: ProjectionRun, target: int) -> None:
        if self._on_progress is not None:
            position = run.checkpoint.position
            self._on_progress(RebuildProgress(position, max(position, target)))

    def _ensure_not_later(self, live: ProjectionPosition | None) -> None:
        version = self._handler.version
        if live is not None and live.version > version:
            raise ProjectionVersionError(
                f"version {live.version} of {self._handler.collection} is live, and this is "
                f"version {version}; rebuild with the later class",
                projection=self._handler.collection,
                asked=version,
                live=live.version,
            )
