"""Work that must end: however often its task is cancelled, or within a time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    """How the work ended, and the cancellation of its caller meanwhile.

    The caller has to raise ``interruption`` when it has drawn its conclusions: this one and no new
    one, for whoever cancelled tells his own by what it carries.
    """

    error: BaseException | None
    interruption: asyncio.CancelledError | None = None


async def finish(
    work: Coroutine[Any, Any, None],
    *,
    grace: float | None = None,
    interruption: asyncio.CancelledError | None = None,
) -> Ended:
    """Run ``work`` to its end in a task of its own, and wait for it even when cancelled.

    After a cancellation the work has ``grace`` seconds left, without limit where that is None;
    then it is cancelled too. ``interruption`` is a cancellation that came before.
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
    return Ended(error, interruption)


async def within(seconds: float, work: Awaitable[T]) -> T:
    """As ``asyncio.wait_for``, in the running task; raises ``asyncio.TimeoutError``."""
    task = asyncio.current_task()
    assert task is not None
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        return await work
    except asyncio.CancelledError:
        if expired and nobody_else_cancelled(task):
            raise asyncio.TimeoutError from None
        raise
    finally:
        timer.cancel()


def nobody_else_cancelled(task: asyncio.Task[Any]) -> bool:
    """Takes back one cancellation; whether there is no other.

    Python 3.10 does not count them, and is taken to have seen one.
    """
    return sys.version_info < (3, 11) or task.uncancel() == 0
