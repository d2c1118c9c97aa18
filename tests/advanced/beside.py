"""What goes on beside the work of a test, and is over when the test is, however that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

Work = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


@asynccontextmanager
async def beside(*works: Work) -> AsyncIterator[None]:
    """Run each during the block; the event tells it that the block is over."""
    is_over = asyncio.Event()
    tasks = [asyncio.ensure_future(work(is_over)) for work in works]
    try:
        yield
    finally:
        is_over.set()
        await asyncio.wait(tasks)
    await asyncio.gather(*tasks)
