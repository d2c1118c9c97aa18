"""``make profile NAME=rehydrate`` shows where the time of such a row goes, in this thread."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import time
from contextlib import AsyncExitStack

from . import core, event_sourcing, messaging, order_import, persistence, relays
from .databases import Databases
from .measuring import Row, named, opened

SECONDS = 2.0


async def _ours(row: Row) -> cProfile.Profile:
    profile = cProfile.Profile()
    async with AsyncExitStack() as stack:
        side = await opened(row.ours, stack)
        await side(1)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with profile:
                await side(10)
    return profile


def main() -> int:
    with Databases() as databases:
        known = [
            *core.rows(),
            *messaging.rows(),
            *persistence.rows(databases),
            *event_sourcing.rows(databases),
            *relays.rows(databases),
            *order_import.rows(databases),
        ]
        row = named(known, " ".join(sys.argv[1:]))[0]
        profile = asyncio.run(_ours(row))
    print(row.name)
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
