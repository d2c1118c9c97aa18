from __future__ import annotations

import asyncio
import sys

import pytest

from cqrs_ddd_core.primitives.shielding import CompletionResult, run_to_completion, timeout_after


async def test_work_that_ends_well_says_so() -> None:
    assert await run_to_completion(asyncio.sleep(0)) == CompletionResult(None)


async def test_an_error_is_handed_over_and_not_raised() -> None:
    error = LookupError("in the work")

    async def work() -> None:
        raise error

    assert await run_to_completion(work()) == CompletionResult(error)


async def test_work_ends_although_its_caller_is_cancelled_again_and_again() -> None:
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


async def test_after_its_grace_the_work_is_cancelled_too() -> None:
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


async def test_a_caller_who_was_cancelled_before_grants_the_grace_from_the_start() -> None:
    ended = await run_to_completion(
        asyncio.sleep(60), grace=0.01, interruption=asyncio.CancelledError()
    )

    assert isinstance(ended.error, asyncio.CancelledError)
    assert ended.interruption is not None


async def test_without_a_cancellation_there_is_no_limit() -> None:
    assert await run_to_completion(asyncio.sleep(0.03), grace=0.001) == CompletionResult(None)


async def test_work_within_its_time_answers_or_raises_as_it_is() -> None:
    assert await timeout_after(30, asyncio.sleep(0, "done")) == "done"

    async def fail() -> None:
        raise LookupError("in the work")

    with pytest.raises(LookupError, match="in the work"):
        await timeout_after(30, fail())


async def test_work_that_takes_too_long_is_cancelled_and_its_caller_goes_on() -> None:
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


async def test_a_cancellation_from_outside_is_no_time_out() -> None:
    async def work() -> None:
        await timeout_after(30, asyncio.Event().wait())

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()


async def test_a_time_out_while_its_caller_is_being_cancelled_is_one() -> None:
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


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not count cancellations")
async def test_a_time_out_that_the_work_turns_into_an_error_of_its_own_leaves_nothing() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError("in the work") from None

    with pytest.raises(LookupError):
        await timeout_after(0.01, work())

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
