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
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

ROUNDS = 30
SECONDS_PER_SIDE_AND_ROUND = 0.02

Side = Callable[[int], Awaitable[float | None]]
"""Does the thing so many times; answers the seconds where it has prepared something before."""

Opening = AbstractAsyncContextManager[Side]
"""A side with connections, open while its row is measured; it can be opened once."""


@dataclass(frozen=True)
class Row:
    """``ours`` beside ``floor``; the median ratio is to stay within the limit, if there is one.

    One call of a side does the thing to so many ``items``; times are given for one of them.
    """

    name: str
    against: str
    ours: Side | Opening
    floor: Side | Opening
    limit: float | None = None
    items: int = 1
    rounds: int = ROUNDS
    seconds: float = SECONDS_PER_SIDE_AND_ROUND


@dataclass(frozen=True)
class Figure:
    """Microseconds of one item, medians over the rounds; the ratio is taken within each round."""

    name: str
    against: str
    ours_us: float
    floor_us: float
    ratio: float
    ratio_low: float
    ratio_high: float
    limit: float | None
    rounds: int

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
    async with AsyncExitStack() as stack:
        sides = [await opened(side, stack) for side in (row.ours, row.floor)]
        times = [await _calibrated(side, row.seconds) for side in sides]
        found: tuple[list[float], list[float]] = ([], [])
        for number in range(row.rounds):
            # Whoever goes first may find the machine in another mood.
            for which in (0, 1) if number % 2 else (1, 0):
                seconds = await _timed(sides[which], times[which])
                found[which].append(seconds / times[which] / row.items * 1e6)
    ours, floor = found
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
        rounds=row.rounds,
    )


async def opened(side: Side | Opening, stack: AsyncExitStack) -> Side:
    """The side to call; the stack closes what it has opened."""
    if isinstance(side, AbstractAsyncContextManager):
        return await stack.enter_async_context(side)
    return side


async def _calibrated(side: Side, enough: float) -> int:
    """How often to run it for one round; the first run only opens what it needs and warms it up."""
    await _timed(side, 1)
    times = 1
    while (seconds := await _timed(side, times)) < enough:
        times = max(times * 2, int(times * enough / max(seconds, 1e-6)))
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


def named(rows: Sequence[Row], part: str) -> list[Row]:
    """The rows with such a name; the program ends with a list of names where there is none."""
    found = [row for row in rows if part in row.name]
    if not found:
        names = "\n  ".join(row.name for row in rows)
        print(f"no row is named like {part!r}; there are:\n  {names}")
        raise SystemExit(2)
    return found


def run(rows: Sequence[Row], *, to: Path) -> int:
    """Measure, print and write; the number of figures over their limit."""
    figures: list[Figure] = []
    for number, row in enumerate(rows, 1):
        print(f"[{number}/{len(rows)}] {row.name} ...", file=sys.stderr, flush=True)
        figures.append(asyncio.run(measure(row)))
    print(_table(figures))
    to.parent.mkdir(exist_ok=True)
    facts = {"python": platform.python_version()}
    to.write_text(json.dumps({**facts, "figures": [asdict(f) for f in figures]}, indent=2) + "\n")
    print(f"written to {to}")
    return sum(not figure.is_within_limit for figure in figures)


def _table(figures: Sequence[Figure]) -> str:
    head = (
        "hot path",
        "beside",
        "ours us",
        "floor us",
        "ratio",
        "half of the rounds",
        "limit",
        "x of floor",
        "",
    )
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
        f"{1 / figure.ratio:.2f}",
        "" if figure.is_within_limit else "over the limit",
    )
