"""Contracts of workers that run in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from ...ports.background_worker import IBackgroundWorker, IWorkerLifecycle
from ...primitives.exceptions import InvalidOperationError
from ..assertions import raises


class Work(Protocol):
    """Work of the worker under test, as the tests add and observe it."""

    async def add_job(self) -> str:
        """Add a job that the worker can find; return its id."""
        ...

    async def list_done(self) -> list[str]:
        """Return the ids of the finished jobs, in the order in which they finished."""
        ...


class WorkerContract:
    """Contract of ``IWorkerLifecycle``, a worker that looks for its work by itself.

    Fixtures:
        worker: The worker under test, not started.
        work: A ``Work`` through which the tests add jobs for the worker.
    """

    async def test_worker_processes_jobs_only_between_start_and_stop(
        self, worker: IWorkerLifecycle, work: Work
    ) -> None:
        before = await work.add_job()
        assert await work.list_done() == []

        await worker.start()
        during = await work.add_job()
        await _wait_until_done(work, 2)
        await worker.stop()
        after = await work.add_job()
        await asyncio.sleep(0.05)

        assert await work.list_done() == [before, during]
        assert after not in await work.list_done()

    async def test_stopped_worker_can_be_started_again(
        self, worker: IWorkerLifecycle, work: Work
    ) -> None:
        for count in (1, 2):
            await worker.start()
            await work.add_job()
            await _wait_until_done(work, count)
            await worker.stop()

        assert len(await work.list_done()) == 2

    async def test_worker_rejects_a_second_start_and_allows_a_second_stop(
        self, worker: IWorkerLifecycle, work: Work
    ) -> None:
        await worker.stop()
        await worker.start()
        with raises(InvalidOperationError):
            await worker.start()
        await work.add_job()
        await _wait_until_done(work, 1)

        await worker.stop()
        await worker.stop()

    async def test_stopped_worker_leaves_no_running_task(self, worker: IWorkerLifecycle) -> None:
        before = asyncio.all_tasks()
        await worker.start()
        await asyncio.sleep(0.02)

        await worker.stop()
        await asyncio.sleep(0.02)

        assert asyncio.all_tasks() <= before


class BackgroundWorkerContract:
    """Contract of ``IBackgroundWorker``, a worker for jobs that callers enqueue.

    Fixtures:
        worker: The worker under test, not started. Its handler appends each job to ``handled``
            and fails on the job ``"poison"``.
        handled: An empty list.
    """

    async def test_background_worker_runs_jobs_in_order_with_unique_ids(
        self, worker: IBackgroundWorker, handled: list[Any]
    ) -> None:
        ids = [await worker.enqueue(job) for job in ("one", "two")]
        await worker.start()
        ids.append(await worker.enqueue("three"))
        await _wait_until(lambda: len(handled) == 3)
        await worker.stop()

        assert handled == ["one", "two", "three"]
        assert len(set(ids)) == 3

    async def test_failing_job_does_not_stop_later_jobs_of_the_background_worker(
        self, worker: IBackgroundWorker, handled: list[Any]
    ) -> None:
        await worker.start()
        for job in ("one", "poison", "two"):
            await worker.enqueue(job)
        await _wait_until(lambda: len(handled) == 2)
        await worker.stop()

        assert handled == ["one", "two"]

    async def test_job_enqueued_while_the_worker_is_stopped_runs_after_the_next_start(
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
    raise AssertionError("the condition did not hold within 5 s")


async def _wait_until_done(work: Work, count: int) -> None:
    for _ in range(500):
        if len(await work.list_done()) >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{count} jobs were added, but only {await work.list_done()} are done")
