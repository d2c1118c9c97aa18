from __future__ import annotations

import asyncio
import sys

import pytest

from cqrs_ddd_core.primitives.shielding import CompletionResult, run_to_completion, timeout_after


async def test_run_to_completion_returns_a_result_without_error() -> None:
    assert await run_to_completion(asyncio.sleep(0)) == CompletionResult(None)


async def test_run_to_completion_returns_an_error_instead_of_raising_it() -> None:
    error = LookupError("in the work")

    async def work() -> None:
        raise error

    assert await run_to_completion(work()) == CompletionResult(error)


async def test_work_completes_although_its_caller_is_cancelled_repeatedly() -> None:
    steps: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0.03)
        steps.append("done")

    async def caller() -> None:
        ended = await run_to_completion(work())
        steps.append(f"interrupted by {ended.interruption}")

    task = asyncio.ensure_future(caller())
    for number in range(3):
        await asyncio.sleep(0.005)
        task.cancel(f"call {number}")
    await task

    assert steps == ["done", "interrupted by call 0"]


async def test_work_of_a_cancelled_caller_is_cancelled_after_its_grace_period() -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("cleaned up")

    async def caller() -> None:
        ended = await run_to_completion(work(), grace=0.01)
        assert isinstance(ended.error, asyncio.CancelledError)
        assert ended.interruption is not None

    task = asyncio.ensure_future(caller())
    await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait_for(task, timeout=10)

    assert steps == ["cleaned up"]


async def test_grace_period_starts_at_once_if_the_caller_was_already_cancelled() -> None:
    ended = await run_to_completion(
        asyncio.sleep(60), grace=0.01, interruption=asyncio.CancelledError()
    )

    assert isinstance(ended.error, asyncio.CancelledError)
    assert ended.interruption is not None


async def test_grace_period_does_not_limit_work_without_a_cancellation() -> None:
    assert await run_to_completion(asyncio.sleep(0.03), grace=0.001) == CompletionResult(None)


async def test_timeout_after_returns_or_raises_the_outcome_of_fast_work() -> None:
    assert await timeout_after(30, asyncio.sleep(0, "done")) == "done"

    async def fail() -> None:
        raise LookupError("in the work")

    with pytest.raises(LookupError, match="in the work"):
        await timeout_after(30, fail())


async def test_timeout_after_cancels_slow_work_and_lets_the_caller_continue() -> None:
    cancelled: list[bool] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    for _ in range(2):
        with pytest.raises(asyncio.TimeoutError):
            await timeout_after(0.01, hang())
    await asyncio.sleep(0)

    assert cancelled == [True, True]


async def test_timeout_after_passes_a_cancellation_from_outside_on() -> None:
    async def work() -> None:
        await timeout_after(30, asyncio.Event().wait())

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()


async def test_timeout_after_raises_timeout_error_in_a_task_that_is_being_cancelled() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await timeout_after(0.01, asyncio.Event().wait())
            except asyncio.TimeoutError:
                ended.append("in time")

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert ended == ["in time"]


async def test_timed_out_work_that_raises_its_own_error_leaves_the_task_uncancelled() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError("in the work") from None

    with pytest.raises(LookupError):
        await timeout_after(0.01, work())

    await asyncio.sleep(0)  # A cancellation that is left behind would end this test here.
    task = asyncio.current_task()
    assert task is not None
    assert sys.version_info < (3, 11) or task.cancelling() == 0  # Python 3.10 has no count.
