from __future__ import annotations

import asyncio

import pytest

from cqrs_ddd_core.spi.keyed_queue import KeyedQueue, Turn


@pytest.fixture
def queue() -> KeyedQueue[int]:
    return KeyedQueue()


async def wait_briefly(turn: Turn) -> None:
    await asyncio.wait({turn}, timeout=0.01)


async def wait_long(turn: Turn) -> None:
    await asyncio.wait({turn}, timeout=30)


async def test_keyed_queue_serves_one_caller_per_key_at_a_time(queue: KeyedQueue[int]) -> None:
    assert queue.try_enter("a", 0)
    assert queue.try_enter("b", 0)
    assert not queue.try_enter("a", 0)
    assert not await queue.wait_turn("a", 1, wait_briefly)


async def test_keyed_queue_serves_callers_in_order_of_arrival(queue: KeyedQueue[int]) -> None:
    served: list[int] = []

    async def enter(number: int) -> None:
        assert await queue.wait_turn("a", 1, wait_long)
        served.append(number)
        queue.leave("a")

    assert queue.try_enter("a", 0)
    waiting = [asyncio.ensure_future(enter(number)) for number in range(3)]
    await asyncio.sleep(0)
    queue.leave("a")
    await asyncio.gather(*waiting)

    assert served == [0, 1, 2]


async def test_keyed_queue_skips_a_caller_that_gave_up(queue: KeyedQueue[int]) -> None:
    assert queue.try_enter("a", 0)
    impatient = asyncio.ensure_future(queue.wait_turn("a", 1, wait_briefly))
    patient = asyncio.ensure_future(queue.wait_turn("a", 1, wait_long))

    assert not await impatient
    queue.leave("a")

    assert await patient


async def test_keyed_queue_passes_the_turn_of_a_cancelled_caller_to_the_next(
    queue: KeyedQueue[int],
) -> None:
    assert queue.try_enter("a", 0)
    first, second = (asyncio.ensure_future(queue.wait_turn("a", 1, wait_long)) for _ in range(2))
    await asyncio.sleep(0)

    queue.leave("a")
    first.cancel()

    assert await second
    assert first.cancelled()


async def test_keyed_queue_keeps_no_state_for_a_key_without_callers(queue: KeyedQueue[int]) -> None:
    assert queue.try_enter("a", 0)
    assert not await queue.wait_turn("a", 1, wait_briefly)
    queue.leave("a")

    assert not queue.current
    assert not queue._waiting


async def test_next_caller_of_a_keyed_queue_is_current_before_it_runs() -> None:
    reported: list[int] = []
    queue = KeyedQueue[int](reported.append)
    assert queue.try_enter("a", 1)
    waiting = asyncio.ensure_future(queue.wait_turn("a", 2, wait_long))
    await asyncio.sleep(0)

    queue.leave("a")

    assert queue.current == {"a": 2}
    assert reported == [2]
    assert await waiting
    queue.leave("a")
    assert reported == [2]
