"""``python -m order_system [FILE]``: import the orders of a file and report on them."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from cqrs_ddd_core import Mediator
from cqrs_ddd_core.primitives.exceptions import DomainError

from .application import AskForSales, SalesReport
from .composition import compose
from .order_file import read_commands

SAMPLE = Path(__file__).with_name("orders.csv")


async def import_orders(path: Path, mediator: Mediator) -> SalesReport:
    commands = read_commands(path)
    progress = Console(stderr=True)
    for command in track(commands, description=f"importing {path.name}", console=progress):
        await mediator.send(command)
    return (await mediator.query(AskForSales())).result


def show(report: SalesReport) -> None:
    out = Console()
    out.print(
        f"{report.orders:,} orders, {report.lines:,} lines, {len(report.customers):,} customers, "
        f"{len(report.revenue):,} countries"
    )
    table = Table("country", "revenue", title="Revenue by country")
    table.columns[1].justify = "right"
    for country, revenue in sorted(report.revenue.items(), key=lambda entry: -entry[1]):
        table.add_row(country, _money(revenue))
    table.add_section()
    table.add_row("total", _money(sum(report.revenue.values(), Decimal(0))))
    out.print(table)


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE
    try:
        show(asyncio.run(import_orders(path, compose())))
    except DomainError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
