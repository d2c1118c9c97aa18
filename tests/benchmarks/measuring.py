"""Two sides of one thing, timed in turns, as a ratio."""

from __future__ import annotations

import asyncio
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROUNDS = 30
SECONDS_PER_SIDE_AND_ROUND = 0.02

Side = Callable[[int], Awaitable[float | None]]
"""Does the thing so many times; answers the seconds where it has prepared something before."""


@dataclass(frozen=True)
class Row:
    """``ours`` beside ``floor``; the median ratio is to stay within the limit, if there is one."""

    name: str
    against: str
    ours: Side
    floor: Side
    limit: float | None = None


@dataclass(frozen=True)
class Figure:
    """Microseconds of one call, medians over the rounds; the ratio is taken within each round."""

    name: str
    against: str
    ours_us: float
    floor_us: float
    ratio: float
    ratio_low: float
    ratio_high: float
    limit: float | None

    @property
    def is_within_limit(self) -> bool:
        return self.limit is None or self.ratio <= self.limit


def repeated(call: Callable[[], object]) -> Side:
    """A plain function as a side."""

    async def side(times: int) -> None:
        for _ in range(times):
            call()

    return side


def awaited(call: Callable[[], Awaitable[object]]) -> Side:
    """An asynchronous function as a side."""

    async def side(times: int) -> None:
        for _ in range(times):
            await call()

    return side


async def measure(row: Row) -> Figure:
    """Rounds of both sides in turns, so that a busy machine harms them alike."""
    times = {side: await _calibrated(side) for side in (row.ours, row.floor)}
    ours: list[float] = []
    floor: list[float] = []
    for number in range(ROUNDS):
        # Whoever goes first may find the machine in another mood.
        for side, found in ((row.ours, ours), (row.floor, floor))[:: 1 if number % 2 else -1]:
            found.append(await _timed(side, times[side]) / times[side] * 1e6)
    ratios = sorted(one / other for one, other in zip(ours, floor, strict=True))
    quarter = len(ratios) // 4
    return Figure(
        name=row.name,
        against=row.against,
        ours_us=statistics.median(ours),
        floor_us=statistics.median(floor),
        ratio=statistics.median(ratios),
        ratio_low=ratios[quarter],
        ratio_high=ratios[-quarter - 1],
        limit=row.limit,
    )


async def _calibrated(side: Side) -> int:
    """How often to run it for one round; this also warms it up."""
    times = 1
    while (seconds := await _timed(side, times)) < SECONDS_PER_SIDE_AND_ROUND:
        times = max(times * 2, int(times * SECONDS_PER_SIDE_AND_ROUND / max(seconds, 1e-6)))
    return times


async def _timed(side: Side, times: int) -> float:
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        own = await side(times)
        return time.perf_counter() - started if own is None else own
    finally:
        gc.enable()


def run(rows: Sequence[Row], *, to: Path) -> int:
    """Measure, print and write; the number of figures over their limit."""
    figures: list[Figure] = []
    for number, row in enumerate(rows, 1):
        print(f"[{number}/{len(rows)}] {row.name} ...", file=sys.stderr, flush=True)
        figures.append(asyncio.run(measure(row)))
    print(_table(figures))
    to.parent.mkdir(exist_ok=True)
    facts = {"python": platform.python_version(), "rounds": ROUNDS}
    to.write_text(json.dumps({**facts, "figures": [asdict(f) for f in figures]}, indent=2) + "\n")
    print(f"written to {to}")
    return sum(not figure.is_within_limit for figure in figures)


def _table(figures: Sequence[Figure]) -> str:
    head = ("hot path", "beside", "ours us", "floor us", "ratio", "half of the rounds", "limit", "")
    lines = [head, *map(_cells, figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(figure: Figure) -> tuple[str, ...]:
    limit = "" if figure.limit is None else f"{figure.limit:.2f}"
    return (
        figure.name,
        figure.against,
        f"{figure.ours_us:,.2f}",
        f"{figure.floor_us:,.2f}",
        f"{figure.ratio:.2f}",
        f"{figure.ratio_low:.2f} to {figure.ratio_high:.2f}",
        limit,
        "" if figure.is_within_limit else "over the limit",
    )
