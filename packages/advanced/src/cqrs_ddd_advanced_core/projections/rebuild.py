"""A view made anew beside the one that is read, and put in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cqrs_ddd_core.ports.clock import IClock, SystemClock
from cqrs_ddd_core.ports.event_store import IEventLog
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError, ConfigError, LeaseLostError
from cqrs_ddd_core.primitives.id_generator import uuid4_text
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy, RetryPolicy

from ..exceptions import ProjectionError, ProjectionVersionError
from ..ports.dead_letters import IDeadLetterStore
from ..ports.positions import IPositionStore, ProjectionPosition
from .batch import OnPoison
from .handler import REBUILD_SUFFIX, ProjectionHandler
from .run import ProjectionRun, Surroundings, given_back
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
    and readers see all of the old or all of the new. A rebuild that was cancelled or killed goes on
    where it ended when it is run again.

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
        on_poison: OnPoison = OnPoison.STOP,
        on_progress: OnProgress | None = None,
        clock: IClock | None = None,
        worker_id: str | None = None,
    ) -> None:
        if batch < 1:
            raise ConfigError(f"batch must be at least 1, got {batch}", variable="batch")
        self._handler = handler
        self._events = events
        self._around = Surroundings(
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

    async def run(self) -> int:
        """Rebuild and swap; answers the position of the new view.

        Raises ``ProjectionVersionError`` when a later version is live, ``ProjectionError`` when
        another rebuild is under way, ``PoisonEventError`` for an event that the handler cannot
        take, and ``ConcurrencyError`` when the swap never got its turn; the live view is then as it
        was.
        """
        live = await self._around.positions.positions([self._handler.name])
        self._refuse_later(live[0] if live else None)
        run = ProjectionRun(self._handler, self._around, REBUILD_SUFFIX)
        try:
            await self._claim(run)
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
                    logger.info("rebuild of %s: %s; try %d", self._handler.name, error, tries)
                    await self._clock.sleep(self._retry.get_backoff(tries))
                    await self._claim(run)  # What the swap took was rolled back with it.
        finally:
            await given_back(run)

    async def _claim(self, run: ProjectionRun) -> None:
        if not await run.claim(restart=True):
            raise ProjectionError(
                f"a rebuild of {self._handler.name} is under way elsewhere; wait for its end, or "
                "for the end of its lease",
                projection=self._handler.name,
            )

    async def _begin(self, run: ProjectionRun) -> None:
        dead_letters = self._around.dead_letters
        async with self._around.uow_factory() as uow:
            store = store_of(uow)
            if run.checkpoint.position == 0:
                # Whatever a rebuild left that was given up, perhaps of another shape.
                await store.drop_collection(run.collection)
            await store.ensure_collection(run.collection, self._handler.fields)
        if run.checkpoint.position == 0:
            while letters := await dead_letters.letters(run.name):
                async with self._around.uow_factory() as uow:
                    await dead_letters.remove(letters, uow=uow)

    async def _catch_up(self, run: ProjectionRun) -> None:
        target = await self._events.latest_position()
        while run.checkpoint.position < target:
            taken = await run.step()
            if run.pause:
                await self._clock.sleep(run.pause)
            elif not taken:
                return
            self._tell(run, target)

    async def _swap(self, run: ProjectionRun) -> int:
        name = self._handler.name
        async with self._around.uow_factory() as uow:
            live = await self._around.positions.hold(name, uow=uow)
            self._refuse_later(live)
            target = 0
            if live is not None:
                inline = live.position is None
                target = await self._events.latest_position() if inline else live.position or 0
            while run.checkpoint.position < target and await run.step(uow):
                self._tell(run, target)
            if run.checkpoint.position < target:
                raise ConcurrencyError(f"the rebuild of {name} is behind the live one; go on")
            await self._around.positions.replace(name, run.checkpoint, uow=uow)
            await store_of(uow).replace_collection(
                self._handler.collection, run.collection, uow=uow
            )
            await self._around.dead_letters.replace(name, run.name, uow=uow)
        return run.checkpoint.position

    def _tell(self, run: ProjectionRun, target: int) -> None:
        if self._on_progress is not None:
            position = run.checkpoint.position
            self._on_progress(RebuildProgress(position, max(position, target)))

    def _refuse_later(self, live: ProjectionPosition | None) -> None:
        version = self._handler.version
        if live is not None and live.version > version:
            raise ProjectionVersionError(
                f"version {live.version} of {self._handler.name} is live, and this is version "
                f"{version}; rebuild with the later class",
                projection=self._handler.name,
                asked=version,
                live=live.version,
            )
