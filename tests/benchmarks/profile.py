"""``make profile NAME=rehydrate`` shows where the time of such a row goes."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys

from . import core, messaging
from .measuring import Row


async def _ours(row: Row) -> None:
    await row.ours(200)


def main() -> int:
    wanted = " ".join(sys.argv[1:])
    known = [*core.rows(), *messaging.rows()]
    row = next((row for row in known if wanted in row.name), None)
    if row is None:
        names = "\n  ".join(row.name for row in known)
        print(f"no row is named like {wanted!r}; there are:\n  {names}")
        return 2
    profile = cProfile.Profile()
    with profile:
        asyncio.run(_ours(row))
    print(row.name)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    return 0


raise SystemExit(main())
