"""Injection of cancellations at every suspension point of a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any


async def cancel_sweep(
    work: Callable[[], Coroutine[Any, Any, Any]],
    check: Callable[[], Awaitable[object]],
    *,
    timeout: float = 30.0,
) -> int:
    """Run ``work`` repeatedly, cancelled at its first suspension, then at its second, and so on.

    The sweep ends with the run that completes before it reaches the suspension to cancel.

    Args:
        work: Returns a new coroutine for each run.
        check: Awaited after each run; asserts the invariants that hold whether the run completed
            or was cancelled.
        timeout: Seconds that one run may take.

    Returns:
        Number of suspensions, each of which was cancelled once.

    Raises:
        AssertionError: The work swallowed a cancellation, left running tasks behind, or took
            longer than ``timeout``.
    """
    suspension = 0
    while True:
        suspension += 1
        interrupted = _Interrupted(work(), suspension)
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(interrupted.run())
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            raise AssertionError(
                f"the work did not end within {timeout} s of its cancellation at suspension "
                f"{suspension}: {task.get_stack()[-1:]}"
            )
        await _ensure_no_leftovers(before, suspension)
        if not interrupted.was_cancelled:
            task.result()
            await check()
            return suspension - 1
        if not task.cancelled():
            outcome = _describe_outcome(task)
            raise AssertionError(
                f"the cancellation at suspension {suspension} was swallowed: {outcome}"
            ) from task.exception()
        await check()


class _Interrupted:
    """Awaitable that drives a coroutine and cancels its task at a given suspension."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int) -> None:
        self._work = work
        self._remaining = at
        self.was_cancelled = False

    async def run(self) -> object:
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = self._next
        while True:
            try:
                awaited = resume()
            except StopIteration as end:
                return end.value
            self._cancel_in_time()
            try:
                yield awaited
                resume = self._next
            except BaseException as error:
                resume = self._build_thrower(error)

    def _next(self) -> Any:
        return self._work.send(None)

    def _build_thrower(self, error: BaseException) -> Callable[[], Any]:
        return lambda: self._work.throw(error)

    def _cancel_in_time(self) -> None:
        self._remaining -= 1
        if self._remaining == 0:
            task = asyncio.current_task()
            assert task is not None
            self.was_cancelled = task.cancel()


async def _ensure_no_leftovers(before: set[asyncio.Task[Any]], suspension: int) -> None:
    # Tasks that were cancelled together with the work need a few turns of the loop to end.
    for _ in range(10):
        if asyncio.all_tasks() <= before:
            return
        await asyncio.sleep(0)
    leftovers = asyncio.all_tasks() - before
    raise AssertionError(
        f"after the cancellation at suspension {suspension} these tasks still run: {leftovers}"
    )


def _describe_outcome(task: asyncio.Task[Any]) -> str:
    error = task.exception()
    return f"it returned {task.result()!r}" if error is None else f"it raised {error!r}"
