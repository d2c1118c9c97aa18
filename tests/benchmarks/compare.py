"""Comparison of the hot paths of two revisions: ``make bench-compare ARGS="--base REV"``.

Both checkouts run alternately on the same machine. A row counts as slower, or as faster, only if
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
measure, run = measuring.measure, measuring.run
measuring.measure = lambda row: measure(dataclasses.replace(row, rounds={rounds}))
measuring.run = lambda rows, **options: run(
    [row for row in rows if {skip!r} is None or {skip!r} not in row.name], **options
)
runpy.run_module("tests.benchmarks", run_name="__main__")
"""

Ratios = dict[str, list[float]]
"""Ratios to the floor by the name of the row, with one ratio for each turn."""


def main() -> int:
    options = _parse_options()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        _git("worktree", "add", "--detach", str(base), options.base)
        try:
            _install(base)
            before, after = _alternate(base, options)
        finally:
            _git("worktree", "remove", "--force", str(base))
    print(format_table(before, after))
    return 1 if any(judge(before[name], after[name]) == "slower" for name in after) else 0


def judge(before: Sequence[float], after: Sequence[float]) -> str:
    """Return ``slower`` or ``faster`` if the middle halves do not overlap, otherwise nothing."""
    if not before or not after:
        return "new" if after else "gone"
    (low_before, high_before), (low_after, high_after) = middle_half(before), middle_half(after)
    if low_after > high_before:
        return "slower"
    return "faster" if high_after < low_before else ""


def middle_half(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the bounds of the middle half."""
    ordered = sorted(ratios)
    quarter = len(ordered) // 4
    return ordered[quarter], ordered[-quarter - 1]


def format_table(before: Ratios, after: Ratios) -> str:
    """Return one line for each row, with medians and middle halves of both revisions."""
    lines = []
    for name in sorted({*before, *after}):
        cells = [_format_cell(side.get(name, [])) for side in (before, after)]
        found = judge(before.get(name, []), after.get(name, []))
        lines.append(f"{name:<70} {cells[0]:<22} {cells[1]:<22} {found}".rstrip())
    return "\n".join([f"{'row':<70} {'before':<22} {'after':<22}", *lines])


def _format_cell(ratios: Sequence[float]) -> str:
    if not ratios:
        return "-"
    low, high = middle_half(ratios)
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def _alternate(base: Path, options: argparse.Namespace) -> tuple[Ratios, Ratios]:
    before: Ratios = defaultdict(list)
    after: Ratios = defaultdict(list)
    for turn in range(options.turns):
        sides = [(base, before), (ROOT, after)]
        for checkout, ratios in sides if turn % 2 else reversed(sides):
            print(f"turn {turn + 1} of {options.turns}: {checkout.name}", file=sys.stderr)
            for name, ratio in _measure_revision(checkout, options).items():
                ratios[name].append(ratio)
    return before, after


def _measure_revision(checkout: Path, options: argparse.Namespace) -> dict[str, float]:
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
        check=False,  # A figure over its limit ends the process with 1, too.
    )
    found = json.loads(figures.read_text("utf-8"))["figures"]
    return {figure["name"]: figure["ratio"] for figure in found}


def _install(checkout: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "UV_PROJECT_ENVIRONMENT"}
    subprocess.run(["make", "--silent", "install"], cwd=checkout, env=environment, check=True)


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True)


def _parse_options() -> argparse.Namespace:
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
