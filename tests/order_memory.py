"""The memory that the order system needs at its worst, to import a file.

``python -m tests.order_memory FILE [KEPT]`` imports it, in an interpreter that nobody used before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from order_system import __main__ as program
from order_system.order_file import OrderFile

from cqrs_ddd_core import Mediator
from tests.order_lines import write_orders
from tests.peak_memory import peak_memory

ROOT = Path(__file__).parents[1]
TIMES = 100
"""How much larger the second file is."""
MAY_GROW = 9 * 2**20
"""Two page caches of SQLite, 2 MB each, the strings that pydantic remembers, and a batch of 100
messages: a small file fills none of them. That is 3 to 6 MiB; who keeps 1,000 lines needs 12."""

Kept = Literal["lines", "responses"]


@dataclass(frozen=True)
class Peaks:
    """In bytes: for a small file, and for one that is ``TIMES`` as large."""

    small: int
    large: int

    @property
    def growth(self) -> int:
        return self.large - self.small

    def __str__(self) -> str:
        small, large, growth = (
            f"{size / 2**20:.1f} MiB" for size in (self.small, self.large, self.growth)
        )
        return f"at most {small}, and {large} for {TIMES} times the lines: {growth} more"


def peaks(
    folder: Path,
    *,
    lines: int,
    padding: int,
    kept: Kept | None = None,
    new_database: Callable[[int], Mapping[str, str]] = lambda _: {},
) -> Peaks:
    """Of the program, or of one that keeps something; a line is an order.

    Names are so much longer, and Python holds them at four bytes a character for the sake of one:
    a line that is kept costs memory sooner than it costs time.
    """
    found: list[int] = []
    for number in (lines, lines * TIMES):
        file = folder / f"{number}.csv"
        write_orders(file, orders=number, lines=number, unshipped=1, padding=f"{'.' * padding}🍵")
        found.append(_peak_of(file, new_database(number), kept))
    return Peaks(*found)


def _peak_of(file: Path, environment: Mapping[str, str], kept: Kept | None) -> int:
    path = os.pathsep.join(str(each) for each in (ROOT, ROOT / "docs/examples"))
    arguments = [str(file)] if kept is None else [str(file), kept]
    done = subprocess.run(
        [sys.executable, "-m", "tests.order_memory", *arguments],
        cwd=file.parent,
        env={**os.environ, **environment, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return int(done.stdout.splitlines()[-1])


def _main(file: str, kept: str | None = None) -> None:
    if kept is not None:
        _keep(kept)
    assert program.main([file]) == 0
    print(peak_memory())  # noqa: T201


def _keep(what: str) -> None:
    """Be naive. Such a one only sends the commands: what it keeps is there by then."""

    async def drain_outbox(*_: object) -> None: ...

    program.drain_outbox = drain_outbox  # type: ignore[assignment,attr-defined]
    lines, send, kept = OrderFile.read_lines, Mediator.send, list[Any]()

    def keeping_lines(self: OrderFile) -> Iterator[Any]:
        return iter(list(lines(self)))

    async def keeping_responses(self: Mediator, command: Any) -> Any:
        kept.append(await send(self, command))
        return kept[-1]

    if what == "lines":
        OrderFile.read_lines = keeping_lines  # type: ignore[method-assign]
    else:
        Mediator.send = keeping_responses  # type: ignore[method-assign]


if __name__ == "__main__":
    _main(*sys.argv[1:])
