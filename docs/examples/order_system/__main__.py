"""Import the orders of a file and report on all orders: ``python -m order_system``."""

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

from .composition import System, create_system
from .importing import Import, RejectedLines, Summary, catch_up, drain_outbox, open_rejected_lines
from .order_file import OrderFile
from .order_mapping import OrderMapping
from .projections import DailyRevenue, OrderSummaries
from .report import show_report, show_summary
from .sales import GetSalesReport, ListOrders
from .settings import Settings

SAMPLE = Path(__file__).with_name("orders.csv")
DESCRIPTION = "Import the orders of a file and report on all stored orders."
EPILOG = """\
environment:
  DATABASE_URL  database of the orders, by default the file NAME.db in the current folder:
                  sqlite+aiosqlite:///orders.db
                  postgresql+asyncpg://user:password@host/database
  BACKEND       memory: store nothing permanently
  STYLE         state: store an order as a row (default)
                events: store only its events, by default in the file NAME.events.db
  BUSY_SECONDS  seconds to wait for another writer on SQLite (default: 5)
  COMMAND_SECONDS seconds that a command may take (default: 10)
  LEASE_SECONDS seconds until another run can take over the messages of a killed run (default: 8)
  SERVICES      false: a web process leaves the relay and the worker to another process

exit codes:
  0    imported; rejected lines are counted and written to a file
  1    the file or the database cannot be used, or no longer; one line names the reason
  2    wrong arguments
  130  interrupted

After a kill at any moment, run it again to continue.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    options = _create_parser().parse_args(arguments)
    # The relay retries the failures that it logs; remaining dead letters are reported at the end.
    logging.getLogger("cqrs_ddd_core").addHandler(logging.NullHandler())
    try:
        asyncio.run(_run(options))
    except (CQRSDDDError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run it again to continue", file=sys.stderr)
        return 130
    return 0


def _create_parser() -> argparse.ArgumentParser:
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
        "--mapping", type=Path, help="JSON that describes the format of the file (see the README)"
    )
    parser.add_argument(
        "--rejected", type=Path, help="file for rejected lines (default: NAME.rejected.csv)"
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--report", action="store_true", help="report only, import nothing")
    modes.add_argument(
        "--rebuild",
        action="store_true",
        help="import nothing, rebuild the order list and the revenue by day; other imports may run",
    )
    parser.add_argument("--after", metavar="ORDER", help="list the orders after this order")
    return parser


async def _run(options: argparse.Namespace) -> None:
    began = time.monotonic()
    path: Path = options.file
    mapping = OrderMapping() if options.mapping is None else OrderMapping.read(options.mapping)
    file = OrderFile(path, mapping)
    imports = not (options.report or options.rebuild)
    lines = file.count() if imports else 0  # Read the whole file before any change.
    out = Console()
    system = create_system(Settings.for_file(path), read_only=options.report)
    async with system.app.open(services=False):
        if options.rebuild:
            await _rebuild(system)
        elif imports:
            rejected_path = options.rejected or Path(f"{path.stem}.rejected.csv")
            with open_rejected_lines(rejected_path) as rejected:
                summary = await _import(system, file, lines, rejected)
                rejected.save()
            show_summary(out, summary, rejected_path, time.monotonic() - began)
        report = (await system.app.query(GetSalesReport())).result
        page = (await system.app.query(ListOrders(after=options.after))).result
    show_report(out, report, page)


async def _import(system: System, file: OrderFile, lines: int, rejected: RejectedLines) -> Summary:
    with _create_progress() as progress:
        imported = progress.add_task(f"importing {file.path.name}", total=lines)
        importing = Import(system, rejected)
        await importing.run(file, lambda done: progress.advance(imported, done))
        relayed = progress.add_task("relaying messages", total=None)
        await drain_outbox(system, lambda done: progress.advance(relayed, done))
        progress.update(relayed, total=progress.tasks[relayed].completed)
        listed = progress.add_task("updating the order list", total=None)
        await catch_up(system, lambda done: progress.advance(listed, done))
        progress.update(listed, total=progress.tasks[listed].completed)
    return importing.summary


async def _rebuild(system: System) -> None:
    with _create_progress() as progress:
        for handler in (OrderSummaries(), DailyRevenue()):
            rebuilt = progress.add_task(f"rebuilding {handler.collection}", total=None)

            def show(done: RebuildProgress, task: TaskID = rebuilt) -> None:
                progress.update(task, completed=done.position, total=done.target)

            await system.projections.create_rebuild(handler, on_progress=show).run()


def _create_progress() -> Progress:
    """Return a progress display, updated on a terminal and printed once at the end elsewhere."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


if __name__ == "__main__":
    raise SystemExit(main())
