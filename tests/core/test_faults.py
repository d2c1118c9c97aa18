from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from cqrs_ddd_core.testing.faults import cancel_sweep


async def _do_nothing() -> None:
    pass


async def test_cancel_sweep_helper_cancels_the_work_once_at_every_suspension() -> None:
    reached: list[int] = []

    async def work() -> None:
        for step in range(3):
            reached.append(step)
            await asyncio.sleep(0)
        reached.append(3)

    suspensions = await cancel_sweep(work, _do_nothing)

    assert suspensions == 3
    assert reached == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]


async def test_cancel_sweep_helper_counts_suspensions_on_futures_queues_and_timers() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def work() -> int:
        asyncio.get_running_loop().call_soon(queue.put_nowait, 1)
        await queue.get()
        await asyncio.sleep(0.001)
        return await asyncio.wait_for(asyncio.sleep(0, 7), timeout=5)

    async def empty_the_queue() -> None:
        await asyncio.sleep(0)
        while not queue.empty():
            queue.get_nowait()

    assert await cancel_sweep(work, empty_the_queue) >= 2


async def test_cancel_sweep_helper_catches_work_that_breaks_an_invariant_if_cancelled() -> None:
    ledger = {"anna": 10, "berta": 0}

    async def transfer() -> None:
        ledger["anna"] -= 1
        await asyncio.sleep(0)
        ledger["berta"] += 1

    async def check_total() -> None:
        assert sum(ledger.values()) == 10

    with pytest.raises(AssertionError):
        await cancel_sweep(transfer, check_total)


async def test_cancel_sweep_helper_catches_work_that_swallows_its_cancellation() -> None:
    async def swallow_cancellation() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return "as if nothing had happened"

    with pytest.raises(AssertionError, match="suspension 1 was swallowed: it returned 'as if"):
        await cancel_sweep(swallow_cancellation, _do_nothing)


async def test_cancel_sweep_helper_catches_work_that_raises_another_error_if_cancelled() -> None:
    async def replace_cancellation() -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise LookupError("something else") from None

    with pytest.raises(AssertionError, match="it raised LookupError") as caught:
        await cancel_sweep(replace_cancellation, _do_nothing)

    assert isinstance(caught.value.__cause__, LookupError)


async def test_cancel_sweep_helper_catches_a_task_that_outlives_the_work() -> None:
    started: list[asyncio.Task[Any]] = []

    async def leak_task() -> None:
        started.append(asyncio.ensure_future(asyncio.sleep(60)))
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="these tasks still run"):
        await cancel_sweep(leak_task, _do_nothing)
    for task in started:
        task.cancel()


async def test_cancel_sweep_helper_catches_work_that_hangs_after_its_cancellation() -> None:
    release = asyncio.Event()

    async def hang_after_cancellation() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            await release.wait()

    with pytest.raises(AssertionError, match=r"did not end within 0.05 s .* suspension 1"):
        await cancel_sweep(hang_after_cancellation, _do_nothing, timeout=0.05)
    release.set()
    await asyncio.sleep(0)


async def test_cancel_sweep_helper_raises_the_error_of_the_uncancelled_run() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("in the work")

    with pytest.raises(LookupError, match="in the work"):
        await cancel_sweep(fail, _do_nothing)


async def test_cancel_sweep_helper_returns_zero_for_a_coroutine_that_never_suspends() -> None:
    def work() -> Coroutine[Any, Any, None]:
        return _do_nothing()

    assert await cancel_sweep(work, _do_nothing) == 0
