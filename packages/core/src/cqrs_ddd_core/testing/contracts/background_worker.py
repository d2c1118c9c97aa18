"""What every worker with a loop must do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from ...ports.background_worker import IBackgroundWorker, IWorkerLifecycle
from ...primitives.exceptions import InvalidOperationError
from ..assertions import raises


class Work(Protocol):
    """What there is to do, seen from outside."""

    async def give(self) -> str:
        """Something to do; its id."""
        ...

    async def done(self) -> list[str]:
        """The ids of what was done, in order."""
        ...


class WorkerContract:
    """Fixtures: ``worker``, not started; ``work``, which it looks for by itself."""

    async def test_it_works_between_start_and_stop(
        self, worker: IWorkerLifecycle, work: Work
    ) -> None:
        before = await work.give()
        assert await work.done() == []

        await worker.start()
        during = await work.give()
        await _wait_until_done(work, 2)
        await worker.stop()
        after = await work.give()
        await asyncio.sleep(0.05)

        assert await work.done() == [before, during]
        assert after not in await work.done()

    async def test_it_can_be_started_again(self, worker: IWorkerLifecycle, work: Work) -> None:
        for count in (1, 2):
            await worker.start()
            await work.give()
            await _wait_until_done(work, count)
            await worker.stop()

        assert len(await work.done()) == 2

    async def test_a_second_start_is_refused_and_a_second_stop_is_fine(
        self, worker: IWorkerLifecycle, work: Work
    ) -> None:
        await worker.stop()
        await worker.start()
        with raises(InvalidOperationError):
            await worker.start()
        await work.give()
        await _wait_until_done(work, 1)

        await worker.stop()
        await worker.stop()

    async def test_stopping_leaves_no_task_behind(self, worker: IWorkerLifecycle) -> None:
        before = asyncio.all_tasks()
        await worker.start()
        await asyncio.sleep(0.02)

        await worker.stop()
        await asyncio.sleep(0.02)

        assert asyncio.all_tasks() <= before


class BackgroundWorkerContract:
    """Fixtures: ``worker``, not started; ``handled``, the list to which it adds each job it does.

    It fails on the job ``"poison"``.
    """

    async def test_jobs_are_done_in_order_under_ids_of_their_own(
        self, worker: IBackgroundWorker, handled: list[Any]
    ) -> None:
        ids = [await worker.enqueue(job) for job in ("one", "two")]
        await worker.start()
        ids.append(await worker.enqueue("three"))
        await _wait_until(lambda: len(handled) == 3)
        await worker.stop()

        assert handled == ["one", "two", "three"]
        assert len(set(ids)) == 3

    async def test_a_job_that_fails_stops_no_other(
        self, worker: IBackgroundWorker, handled: list[Any]
    ) -> None:
        await worker.start()
        for job in ("one", "poison", "two"):
            await worker.enqueue(job)
        await _wait_until(lambda: len(handled) == 2)
        await worker.stop()

        assert handled == ["one", "two"]

    async def test_what_is_left_when_it_stops_is_done_when_it_starts_again(
        self, worker: IBackgroundWorker, handled: list[Any]
    ) -> None:
        await worker.start()
        await worker.stop()
        await worker.enqueue("one")
        await asyncio.sleep(0.02)
        assert handled == []

        await worker.start()
        await _wait_until(lambda: handled == ["one"])
        await worker.stop()


async def _wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that in time")


async def _wait_until_done(work: Work, count: int) -> None:
    for _ in range(500):
        if len(await work.done()) >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"only {await work.done()} was done, {count} were given")
