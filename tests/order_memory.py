"""Peak memory of the order system during the import of a file.

``python -m tests.order_memory FILE [KEPT]`` imports the file and prints the peak in bytes.
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
"""Factor by which the second file is larger."""
MAX_GROWTH = 9 * 2**20
"""Bytes; two page caches of SQLite with 2 MB each, strings cached by pydantic, and a batch of 100
messages, none of which a small file fills. They need 3 to 6 MiB; a program that keeps 1,000 lines
needs 12 MiB."""

Kept = Literal["lines", "responses"]


@dataclass(frozen=True)
class Peaks:
    """Peaks in bytes, for a small file and for one that is ``TIMES`` as large."""

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


def measure_peaks(
    folder: Path,
    *,
    lines: int,
    padding: int,
    kept: Kept | None = None,
    new_database: Callable[[int], Mapping[str, str]] = lambda _: {},
) -> Peaks:
    """Measure the peaks of the program, or of a naive one that keeps lines or responses.

    Each line is an order. ``padding`` makes the names longer, and one wide character makes Python
    use four bytes for each character, so that a line which is kept needs more memory.
    """
    found: list[int] = []
    for number in (lines, lines * TIMES):
        file = folder / f"{number}.csv"
        write_orders(file, orders=number, lines=number, unshipped=1, padding=f"{'.' * padding}🍵")
        found.append(_measure_peak(file, new_database(number), kept))
    return Peaks(*found)


def _measure_peak(file: Path, environment: Mapping[str, str], kept: Kept | None) -> int:
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


def _keep(kind: str) -> None:
    """Make the program naive: it only sends the commands, and keeps lines or responses."""

    async def drain_outbox(*_: object) -> None: ...

    program.drain_outbox = drain_outbox  # type: ignore[assignment,attr-defined]
    lines, send, kept = OrderFile.read_lines, Mediator.send, list[Any]()

    def keep_lines(self: OrderFile) -> Iterator[Any]:
        return iter(list(lines(self)))

    async def keep_responses(self: Mediator, command: Any) -> Any:
        kept.append(await send(self, command))
        return kept[-1]

    if kind == "lines":
        OrderFile.read_lines = keep_lines  # type: ignore[method-assign]
    else:
        Mediator.send = keep_responses  # type: ignore[method-assign]


if __name__ == "__main__":
    _main(*sys.argv[1:])
