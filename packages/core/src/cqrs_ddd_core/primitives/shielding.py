"""Work that must end once it has begun, whatever happens to the task that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How the work ended, and whether its caller was cancelled meanwhile.

    An interrupted caller has to raise ``asyncio.CancelledError`` when it has drawn its conclusions.
    """

    error: BaseException | None
    interrupted: bool


async def finish(
    work: Coroutine[Any, Any, None], *, grace: float | None = None, interrupted: bool = False
) -> Ended:
    """Run ``work`` to its end in a task of its own, and wait for it even when cancelled.

    After a cancellation the work has ``grace`` seconds left, without limit where that is None;
    then it is cancelled too. ``interrupted`` says that the caller was cancelled already.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    deadline = loop.time() + grace if interrupted and grace is not None else None
    while not task.done():
        remaining = None if deadline is None else deadline - loop.time()
        if remaining is not None and remaining <= 0:
            task.cancel()
            deadline = remaining = None
        try:
            await asyncio.wait({task}, timeout=remaining)
        except asyncio.CancelledError:
            if not interrupted and grace is not None:
                deadline = loop.time() + grace
            interrupted = True
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return Ended(error, interrupted)
