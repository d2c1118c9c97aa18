"""``python -m order_system``: import the orders of a file, and report on all there are."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from cqrs_ddd_advanced_core.projections import RebuildProgress
from cqrs_ddd_core import CQRSDDDError

from .composition import Settings, System, open_system
from .importing import Import, RejectedLines, Summary, catch_up, rejected_lines, tell
from .order_file import OrderFile
from .order_mapping import OrderMapping
from .projections import DailyRevenue, OrderSummaries
from .report import show_report, show_summary
from .sales import AskForSales, ListOrders

SAMPLE = Path(__file__).with_name("orders.csv")
DESCRIPTION = "Imports the orders of a file and reports on all orders there are."
EPILOG = """\
environment:
  DATABASE_URL  where the orders are kept, by default the file NAME.db in the current folder:
                  sqlite+aiosqlite:///orders.db
                  postgresql+asyncpg://user:password@host/database
  BACKEND       memory: keep nothing
  STYLE         state: keep an order as a row (default)
                events: keep its events alone, by default in the file NAME.events.db
  BUSY_SECONDS  how long to wait for another writer on SQLite (default: 5)
  LEASE_SECONDS how long the messages of a killed run wait for the next (default: 8)

exit codes:
  0    imported; lines that were rejected are counted, and are in a file
  1    nothing, or no more, can be done with this file and database; one line says why
  2    wrong arguments
  130  interrupted

Killed at any moment, it goes on where it was when it is run again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    # What the relay warns of is tried again; what stays is told at the end.
    logging.getLogger("cqrs_ddd_core").addHandler(logging.NullHandler())
    try:
        asyncio.run(_run(asked))
    except (CQRSDDDError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="order_system",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", nargs="?", type=Path, default=SAMPLE, help="orders as CSV (default: a sample)"
    )
    parser.add_argument(
        "--mapping", type=Path, help="JSON that says how the file is written (see the README)"
    )
    parser.add_argument(
        "--rejected", type=Path, help="where rejected lines go (default: NAME.rejected.csv)"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--report", action="store_true", help="report only, import nothing")
    instead.add_argument(
        "--rebuild",
        action="store_true",
        help="import nothing, make the order list and the revenue by day anew, also while others "
        "import",
    )
    parser.add_argument("--after", metavar="ORDER", help="list the orders that follow this one")
    return parser


async def _run(asked: argparse.Namespace) -> None:
    began = time.monotonic()
    path: Path = asked.file
    mapping = OrderMapping() if asked.mapping is None else OrderMapping.read(asked.mapping)
    file = OrderFile(path, mapping)
    imports = not (asked.report or asked.rebuild)
    lines = file.count() if imports else 0  # Before anything is changed.
    out = Console()
    async with open_system(Settings.for_file(path), read_only=asked.report) as system:
        if asked.rebuild:
            await _rebuild(system)
        elif imports:
            rejected_path = asked.rejected or Path(f"{path.stem}.rejected.csv")
            with rejected_lines(rejected_path) as rejected:
                summary = await _import(system, file, lines, rejected)
                rejected.save()
            show_summary(out, summary, rejected_path, time.monotonic() - began)
        report = (await system.mediator.query(AskForSales())).result
        page = (await system.mediator.query(ListOrders(after=asked.after))).result
    show_report(out, report, page)


async def _import(system: System, file: OrderFile, lines: int, rejected: RejectedLines) -> Summary:
    with _progress() as progress:
        imported = progress.add_task(f"importing {file.path.name}", total=lines)
        importing = Import(system, rejected)
        await importing.run(file, lambda done: progress.advance(imported, done))
        told = progress.add_task("telling the tables", total=None)
        await tell(system, lambda done: progress.advance(told, done))
        progress.update(told, total=progress.tasks[told].completed)
        listed = progress.add_task("making the documents", total=None)
        await catch_up(system, lambda done: progress.advance(listed, done))
        progress.update(listed, total=progress.tasks[listed].completed)
    return importing.summary


async def _rebuild(system: System) -> None:
    with _progress() as progress:
        for handler in (OrderSummaries(), DailyRevenue()):
            rebuilt = progress.add_task(f"rebuilding {handler.collection}", total=None)

            def show(done: RebuildProgress, task: TaskID = rebuilt) -> None:
                progress.update(task, completed=done.position, total=done.target)

            await system.rebuild(handler, on_progress=show).run()


def _progress() -> Progress:
    """Drawn again and again on a terminal; elsewhere once, at its end."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


if __name__ == "__main__":
    raise SystemExit(main())
