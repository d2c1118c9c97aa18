"""Work that runs to its end despite cancellations, and timeouts in the running task."""

import asyncio
import sys
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from .exceptions import InfrastructureError

T = TypeVar("T")


@dataclass(frozen=True)
class CompletionResult:
    """Result of ``run_to_completion``.

    The caller has to raise ``interruption`` after it has handled the result. It must raise this
    instance, not a new ``CancelledError``: cancel scopes recognise their own instance.

    Attributes:
        error: exception of the work, or None.
        interruption: cancellation of the caller while the work ran, or None.
    """

    error: BaseException | None
    interruption: asyncio.CancelledError | None = None


async def run_to_completion(
    work: Coroutine[Any, Any, None],
    *,
    grace: float | None = None,
    interruption: asyncio.CancelledError | None = None,
) -> CompletionResult:
    """Run ``work`` to its end in a task of its own, and wait for it even when cancelled.

    Args:
        work: coroutine to run.
        grace: seconds that the work may continue after a cancellation before it is cancelled, too;
            None sets no limit.
        interruption: cancellation of the caller that came before this call.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    deadline = loop.time() + grace if interruption is not None and grace is not None else None
    while not task.done():
        remaining = None if deadline is None else deadline - loop.time()
        if remaining is not None and remaining <= 0:
            task.cancel()
            deadline = remaining = None
        try:
            await asyncio.wait({task}, timeout=remaining)
        except asyncio.CancelledError as cancelled:
            if interruption is None:
                interruption = cancelled
                deadline = None if grace is None else loop.time() + grace
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return CompletionResult(error, interruption)


async def isolate(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` in a task of its own, and cancel it with the caller.

    Some clients raise ``CancelledError`` although the caller was not cancelled, for example when
    their connection is closed. The caller would take that error for its own cancellation.

    Raises:
        InfrastructureError: the work raised ``CancelledError`` by itself.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        raise InfrastructureError(
            "a call ended with CancelledError although its caller was not cancelled"
        )
    return task.result()


class OwnCancellation:
    """Cancellation of the current task, distinguished from cancellations by other code.

    Python 3.10 does not count cancellations: there, every cancellation counts as this one.
    """

    __slots__ = ("_before", "_task", "_times", "was_made")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = _count_cancellations(task)
        self._times = 0
        self.was_made = False

    def cancel(self) -> None:
        """Cancel the task."""
        self._times += 1
        self.was_made = True
        self._task.cancel()

    def undo(self) -> bool:
        """Undo the cancellations of this object; return False if other code cancelled the task."""
        if self._times and sys.version_info >= (3, 11):
            for _ in range(self._times):
                self._task.uncancel()
        self._times = 0
        return _count_cancellations(self._task) <= self._before


def _count_cancellations(task: asyncio.Task[Any]) -> int:
    return task.cancelling() if sys.version_info >= (3, 11) else 0


async def timeout_after(seconds: float, work: Awaitable[T]) -> T:
    """Await ``work`` in the running task for at most ``seconds``.

    Raises:
        asyncio.TimeoutError: the time is over.
    """
    expiry = OwnCancellation()
    timer = asyncio.get_running_loop().call_later(seconds, expiry.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if expiry.undo() and expiry.was_made:
            raise asyncio.TimeoutError from None
        raise
    finally:
        timer.cancel()
        expiry.undo()
