"""Printed report."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .importing import Summary
from .projections import OrderSummary
from .sales import LATE_AFTER_DAYS, SalesReport

_NEWEST_DAYS = 5


def show_summary(out: Console, summary: Summary, rejected: Path, seconds: float) -> None:
    """Print the numbers of imported and rejected lines."""
    out.print(
        f"{summary.lines:,} lines read: {summary.added:,} accepted, {summary.rejected:,} rejected, "
        f"{summary.duplicates:,} duplicates, in {seconds:.1f} s"
    )
    if summary.resumed:
        out.print(f"resumed: {summary.resumed:,} of the accepted lines were stored by another run")
    if summary.unshipped:
        out.print(f"{summary.unshipped:,} orders could not be shipped")
    if summary.rejected or summary.unshipped:
        out.print(Text(f"the reasons are in {rejected}"))


def show_report(out: Console, report: SalesReport, page: Sequence[OrderSummary]) -> None:
    """Print the report and a page of the order list."""
    out.print()
    out.print(_format_totals(report))
    tables = (_build_countries, _build_days, _build_customers, _build_late_orders)
    for table in (*(make(report) for make in tables), _build_page(page)):
        if table.row_count:
            out.print()
            out.print(table)


def _format_totals(report: SalesReport) -> str:
    total = report.totals
    cancellations = f"{total.cancellations:,} cancellations, " if total.cancellations else ""
    return (
        f"{total.orders:,} orders, {cancellations}{total.lines:,} lines, "
        f"{total.customers:,} customers, {len(report.countries):,} countries"
    )


def _build_countries(report: SalesReport) -> Table:
    table = _create_table("Revenue by country", "country", orders=True, revenue=True)
    for country in report.countries:
        table.add_row(Text(country.id), f"{country.orders:,}", _format_money(country.revenue))
    if report.countries:
        total = report.totals
        table.add_section()
        table.add_row("total", f"{total.orders:,}", _format_money(total.revenue))
    return table


def _build_days(report: SalesReport) -> Table:
    table = _create_table("Revenue by day", "day", lines=True, revenue=True)
    for day in report.days[:_NEWEST_DAYS]:
        table.add_row(day.id, f"{day.lines:,}", _format_money(day.revenue))
    if earlier := report.days[_NEWEST_DAYS:]:
        lines, revenue = sum(day.lines for day in earlier), sum(day.revenue for day in earlier)
        table.add_row("earlier", f"{lines:,}", _format_money(Decimal(revenue)))
    return table


def _build_customers(report: SalesReport) -> Table:
    table = _create_table("Top customers", "customer", orders=True, revenue=True)
    for customer in report.top_customers:
        table.add_row(Text(customer.id), f"{customer.orders:,}", _format_money(customer.revenue))
    return table


def _build_late_orders(report: SalesReport) -> Table:
    title = f"Late (over {LATE_AFTER_DAYS} days): {report.totals.late_orders:,} orders"
    table = _create_table(title, "order", "customer", days=True)
    for order in report.late_orders:
        table.add_row(Text(order.id), Text(order.customer_id), str(order.days_to_ship))
    return table


def _build_page(page: Sequence[OrderSummary]) -> Table:
    table = _create_table(
        "Newest orders", "order", "placed", "customer", "country", lines=True, amount=True
    )
    for order in page:
        table.add_row(
            Text(order.id),
            f"{order.placed_at:%Y-%m-%d}",
            Text(order.customer_id),
            Text(order.country),
            f"{order.lines:,}",
            _format_money(order.amount),
        )
    if page:
        table.caption = Text(f"more: --report --after {page[-1].id}")
    return table


def _create_table(title: str, *texts: str, **numbers: bool) -> Table:
    table = Table(title=title, title_justify="left", min_width=len(title))
    for name in texts:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _format_money(amount: Decimal) -> str:
    return f"{amount:,.2f}"
