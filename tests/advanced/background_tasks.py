"""Background tasks that run during a block of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

Work = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


@asynccontextmanager
async def run_in_background(*works: Work) -> AsyncIterator[None]:
    """Run tasks during the block; each gets an event that is set at its end."""
    is_over = asyncio.Event()
    tasks = [asyncio.ensure_future(work(is_over)) for work in works]
    try:
        yield
    finally:
        is_over.set()
        await asyncio.wait(tasks)
    await asyncio.gather(*tasks)
