"""Ratio of the times of two sides that do the same job, measured alternately."""

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
"""Function that does the job so many times; it returns the seconds if only a part counts."""

SideContext = AbstractAsyncContextManager[Side]
"""Context manager of a side with connections, which is entered once, while its row is measured."""


@dataclass(frozen=True)
class Row:
    """Comparison of ``ours`` with ``floor``.

    Args:
        name: name of the hot path.
        against: description of the floor.
        ours: side of the toolkit.
        floor: side of the comparison.
        limit: highest median ratio that is accepted; None for any ratio.
        items: items that one call of a side processes; times are per item.
        rounds: number of rounds.
        seconds: least time of a side in a round.
    """

    name: str
    against: str
    ours: Side | SideContext
    floor: Side | SideContext
    limit: float | None = None
    items: int = 1
    rounds: int = ROUNDS
    seconds: float = SECONDS_PER_SIDE_AND_ROUND


@dataclass(frozen=True)
class Figure:
    """Result of a row: medians over the rounds, with the ratio computed in each round.

    Args:
        name: name of the row.
        against: description of the floor.
        ours_us: microseconds of the toolkit per item.
        floor_us: microseconds of the floor per item.
        ratio: median of the ratios.
        ratio_low: lower bound of the middle half of the ratios.
        ratio_high: upper bound of the middle half of the ratios.
        limit: limit of the row.
        rounds: number of rounds.
    """

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


def repeat_call(call: Callable[[], object]) -> Side:
    """Return a side that calls a plain function."""

    async def side(times: int) -> None:
        for _ in range(times):
            call()

    return side


def repeat_await(call: Callable[[], Awaitable[object]]) -> Side:
    """Return a side that awaits an asynchronous function."""

    async def side(times: int) -> None:
        for _ in range(times):
            await call()

    return side


async def measure(row: Row) -> Figure:
    """Measure both sides in alternating rounds, so that other load on the machine affects both."""
    async with AsyncExitStack() as stack:
        sides = [await open_side(side, stack) for side in (row.ours, row.floor)]
        times = [await _calibrate(side, row.seconds) for side in sides]
        found: tuple[list[float], list[float]] = ([], [])
        for number in range(row.rounds):
            # The order alternates, since the first side may find the machine in another state.
            for which in (0, 1) if number % 2 else (1, 0):
                seconds = await _time_side(sides[which], times[which])
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


async def open_side(side: Side | SideContext, stack: AsyncExitStack) -> Side:
    """Return the side to call; the stack closes its connections."""
    if isinstance(side, AbstractAsyncContextManager):
        return await stack.enter_async_context(side)
    return side


async def _calibrate(side: Side, enough: float) -> int:
    """Return how often a round calls the side; the first call only warms it up."""
    await _time_side(side, 1)
    times = 1
    while (seconds := await _time_side(side, times)) < enough:
        times = max(times * 2, int(times * enough / max(seconds, 1e-6)))
    return times


async def _time_side(side: Side, times: int) -> float:
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        own = await side(times)
        return time.perf_counter() - started if own is None else own
    finally:
        gc.enable()


def select_rows(rows: Sequence[Row], part: str) -> list[Row]:
    """Return the rows with this part in their names; without any, list all names and exit."""
    found = [row for row in rows if part in row.name]
    if not found:
        names = "\n  ".join(row.name for row in rows)
        print(f"no row has {part!r} in its name; the rows are:\n  {names}")
        raise SystemExit(2)
    return found


def run(rows: Sequence[Row], *, to: Path) -> int:
    """Measure, print and write the figures; return the number of figures over their limits."""
    figures: list[Figure] = []
    for number, row in enumerate(rows, 1):
        print(f"[{number}/{len(rows)}] {row.name} ...", file=sys.stderr, flush=True)
        figures.append(asyncio.run(measure(row)))
    print(_format_table(figures))
    to.parent.mkdir(exist_ok=True)
    facts = {"python": platform.python_version()}
    to.write_text(json.dumps({**facts, "figures": [asdict(f) for f in figures]}, indent=2) + "\n")
    print(f"written to {to}")
    return sum(not figure.is_within_limit for figure in figures)


def _format_table(figures: Sequence[Figure]) -> str:
    head = (
        "hot path",
        "compared with",
        "ours us",
        "floor us",
        "ratio",
        "half of the rounds",
        "limit",
        "x of floor",
        "",
    )
    lines = [head, *map(_format_cells, figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _format_cells(figure: Figure) -> tuple[str, ...]:
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
