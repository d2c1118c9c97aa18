"""FIFO lock compared with the lock of redis-py."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from .databases import Databases
from .locks import HOLD, HOLDS, TASKS, Hold, contend_for_lock, hold_with_fifo
from .measuring import Row


def build_rows(databases: Databases) -> list[Row]:
    return [
        Row(
            f"Redis: {TASKS} tasks contend for holds of 1 ms",
            "redis-py Lock, as it comes",
            contend_for_lock(databases, hold_with_fifo),
            contend_for_lock(databases, hold_with_polling),
            1 / 4,
            items=TASKS * HOLDS,
            rounds=8,
        ),
    ]


def hold_with_polling(client: Redis) -> Hold:
    """Return a function that holds the lock of redis-py, which polls every tenth of a second."""

    async def hold_once(name: str) -> float:
        started = time.perf_counter()
        async with client.lock(name, timeout=30):
            waited = time.perf_counter() - started
            await asyncio.sleep(HOLD)
        return waited

    return hold_once
