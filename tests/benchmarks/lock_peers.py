"""The lock that serves in order beside the one of redis-py."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from .databases import Databases
from .locks import HOLD, HOLDS, TASKS, Pair, contended, locking
from .measuring import Row


def rows(databases: Databases) -> list[Row]:
    return [
        Row(
            f"Redis: {TASKS} tasks contend for holds of 1 ms",
            "redis-py Lock, as it comes",
            contended(databases, locking),
            contended(databases, sleeping),
            1 / 4,
            items=TASKS * HOLDS,
            rounds=8,
        ),
    ]


def sleeping(client: Redis) -> Pair:
    """Asks again after a tenth of a second."""

    async def pair(name: str) -> float:
        started = time.perf_counter()
        async with client.lock(name, timeout=30):
            waited = time.perf_counter() - started
            await asyncio.sleep(HOLD)
        return waited

    return pair
