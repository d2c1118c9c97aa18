"""Faults on purpose."""

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
    """Cancel ``work`` at its first suspension, then at its second, until it ends unharmed.

    After each run ``check`` is awaited: it asserts what must hold however the work ended.
    ``AssertionError`` also for a cancellation that was swallowed, for tasks that outlive the work,
    and for a run that takes more than ``timeout`` seconds.

    Returns:
        How many suspensions there are, each of which was cancelled once.
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
    """Awaits a coroutine by hand, to cancel the task when it is about to suspend."""

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
    # What was cancelled along with the work needs a few turns of the loop to end.
    for _ in range(10):
        if asyncio.all_tasks() <= before:
            return
        await asyncio.sleep(0)
    leftovers = asyncio.all_tasks() - before
    raise AssertionError(
        f"after the cancellation at suspension {suspension} tasks run on: {leftovers}"
    )


def _describe_outcome(task: asyncio.Task[Any]) -> str:
    error = task.exception()
    return f"it returned {task.result()!r}" if error is None else f"it raised {error!r}"
