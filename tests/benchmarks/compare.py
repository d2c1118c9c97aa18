"""Compare the hot paths of two revisions: ``make bench-compare ARGS="--base REV"``.

Both checkouts run in turns on the same machine. A row counts as slower, or as faster, only where
the middle halves of its ratios to the floor do not overlap.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

_RUN = """
import dataclasses, runpy
from tests.benchmarks import measuring
measure = measuring.measure
measuring.measure = lambda row: measure(dataclasses.replace(row, rounds={rounds}))
named = measuring.named
measuring.named = lambda rows, part: [
    row for row in named(rows, part) if {skip!r} is None or {skip!r} not in row.name
]
runpy.run_module("tests.benchmarks", run_name="__main__")
"""

Ratios = dict[str, list[float]]
"""Ratios to the floor, one for each turn, by the name of the row."""


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        _git("worktree", "add", "--detach", str(base), options.base)
        try:
            _install(base)
            before, after = _alternate(base, options)
        finally:
            _git("worktree", "remove", "--force", str(base))
    print(table(before, after))
    return 1 if any(verdict(before[name], after[name]) == "slower" for name in after) else 0


def verdict(before: Sequence[float], after: Sequence[float]) -> str:
    """Return ``slower`` or ``faster`` where the middle halves do not overlap, else nothing."""
    if not before or not after:
        return "new" if after else "gone"
    (low_before, high_before), (low_after, high_after) = middle(before), middle(after)
    if low_after > high_before:
        return "slower"
    return "faster" if high_after < low_before else ""


def middle(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the bounds of the middle half."""
    ordered = sorted(ratios)
    quarter = len(ordered) // 4
    return ordered[quarter], ordered[-quarter - 1]


def table(before: Ratios, after: Ratios) -> str:
    """Return one line for each row, with medians and middle halves of both sides."""
    lines = []
    for name in sorted({*before, *after}):
        cells = [_cell(side.get(name, [])) for side in (before, after)]
        found = verdict(before.get(name, []), after.get(name, []))
        lines.append(f"{name:<70} {cells[0]:<22} {cells[1]:<22} {found}".rstrip())
    return "\n".join([f"{'row':<70} {'before':<22} {'after':<22}", *lines])


def _cell(ratios: Sequence[float]) -> str:
    if not ratios:
        return "-"
    low, high = middle(ratios)
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def _alternate(base: Path, options: argparse.Namespace) -> tuple[Ratios, Ratios]:
    before: Ratios = defaultdict(list)
    after: Ratios = defaultdict(list)
    for turn in range(options.turns):
        sides = [(base, before), (ROOT, after)]
        for checkout, ratios in sides if turn % 2 else reversed(sides):
            print(f"turn {turn + 1} of {options.turns}: {checkout.name}", file=sys.stderr)
            for name, ratio in _figures(checkout, options).items():
                ratios[name].append(ratio)
    return before, after


def _figures(checkout: Path, options: argparse.Namespace) -> dict[str, float]:
    figures = checkout / ".bench/figures.json"
    figures.unlink(missing_ok=True)
    subprocess.run(
        [
            checkout / ".venv/bin/python",
            "-c",
            _RUN.format(rounds=options.rounds, skip=options.skip),
            *options.rows,
        ],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": "docs/examples"},
        stdout=subprocess.DEVNULL,
        stderr=None if options.verbose else subprocess.DEVNULL,
        check=False,  # A figure over its limit also ends it with 1.
    )
    found = json.loads(figures.read_text("utf-8"))["figures"]
    return {figure["name"]: figure["ratio"] for figure in found}


def _install(checkout: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "UV_PROJECT_ENVIRONMENT"}
    subprocess.run(["make", "--silent", "install"], cwd=checkout, env=environment, check=True)


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True, help="revision to compare with")
    parser.add_argument("--turns", type=int, default=10, help="runs of each checkout")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each row in a run")
    parser.add_argument("--skip", help="leave out the rows with this part in their names")
    parser.add_argument("--verbose", action="store_true", help="show the progress of each run")
    parser.add_argument("rows", nargs="*", help="part of the names of the rows; all by default")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
