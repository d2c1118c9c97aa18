"""Profile of our side of a row, in this thread: ``make profile NAME=rehydrate``."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import time
from contextlib import AsyncExitStack

from . import core, event_sourcing, messaging, order_import, persistence, relays
from .databases import Databases
from .measuring import Row, open_side, select_rows

SECONDS = 2.0


async def _profile_ours(row: Row) -> cProfile.Profile:
    profile = cProfile.Profile()
    async with AsyncExitStack() as stack:
        side = await open_side(row.ours, stack)
        await side(1)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with profile:
                await side(10)
    return profile


def main() -> int:
    with Databases() as databases:
        known = [
            *core.build_rows(),
            *messaging.build_rows(),
            *persistence.build_rows(databases),
            *event_sourcing.build_rows(databases),
            *relays.build_rows(databases),
            *order_import.build_rows(databases),
        ]
        row = select_rows(known, " ".join(sys.argv[1:]))[0]
        profile = asyncio.run(_profile_ours(row))
    print(row.name)
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
