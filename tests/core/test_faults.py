from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from cqrs_ddd_core.testing.faults import cancel_sweep


async def _fine() -> None:
    pass


async def test_every_suspension_is_cancelled_once() -> None:
    reached: list[int] = []

    async def work() -> None:
        for step in range(3):
            reached.append(step)
            await asyncio.sleep(0)
        reached.append(3)

    suspensions = await cancel_sweep(work, _fine)

    assert suspensions == 3
    assert reached == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]


async def test_suspensions_on_futures_queues_and_timers_count() -> None:
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


async def test_the_check_sees_what_a_cancellation_left_behind() -> None:
    ledger = {"anna": 10, "berta": 0}

    async def transfer() -> None:
        ledger["anna"] -= 1
        await asyncio.sleep(0)
        ledger["berta"] += 1

    async def nothing_is_lost() -> None:
        assert sum(ledger.values()) == 10

    with pytest.raises(AssertionError):
        await cancel_sweep(transfer, nothing_is_lost)


async def test_a_swallowed_cancellation_is_found() -> None:
    async def deaf() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return "as if nothing had happened"

    with pytest.raises(AssertionError, match="suspension 1 was swallowed: it returned 'as if"):
        await cancel_sweep(deaf, _fine)


async def test_a_cancellation_turned_into_another_error_is_found() -> None:
    async def translating() -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise LookupError("something else") from None

    with pytest.raises(AssertionError, match="it raised LookupError") as caught:
        await cancel_sweep(translating, _fine)

    assert isinstance(caught.value.__cause__, LookupError)


async def test_a_task_that_outlives_the_work_is_found() -> None:
    started: list[asyncio.Task[Any]] = []

    async def leaking() -> None:
        started.append(asyncio.ensure_future(asyncio.sleep(60)))
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="these tasks still run"):
        await cancel_sweep(leaking, _fine)
    for task in started:
        task.cancel()


async def test_work_that_hangs_after_its_cancellation_is_found() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            await release.wait()

    with pytest.raises(AssertionError, match=r"did not end within 0.05 s .* suspension 1"):
        await cancel_sweep(stubborn, _fine, timeout=0.05)
    release.set()
    await asyncio.sleep(0)


async def test_an_error_of_the_unharmed_run_is_raised() -> None:
    async def broken() -> None:
        await asyncio.sleep(0)
        raise LookupError("in the work")

    with pytest.raises(LookupError, match="in the work"):
        await cancel_sweep(broken, _fine)


async def test_work_without_a_suspension_has_none() -> None:
    def work() -> Coroutine[Any, Any, None]:
        return _fine()

    assert await cancel_sweep(work, _fine) == 0
