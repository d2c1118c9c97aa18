"""Tables of the application, in the same database as the tables of the toolkit."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Connection, Text, inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_persistence_sqlalchemy import ExactDecimal, Json, UtcDateTime, VersionMixin, schema

Style = Literal["state", "events"]
"""Storage of an order: as a row with its events, or as events only."""


class Base(DeclarativeBase):
    """Base class of the mapped classes."""


class OrderModel(VersionMixin, Base):
    """Row of an order, unless orders are stored as events."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    customer_id: Mapped[str] = mapped_column(Text)
    city: Mapped[str] = mapped_column(Text)
    country: Mapped[str] = mapped_column(Text)
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    is_cancellation: Mapped[bool]
    shipped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lines: Mapped[Any] = mapped_column(Json)


class CustomerSalesModel(VersionMixin, Base):
    """Row with the totals of a customer."""

    __tablename__ = "customer_sales"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    orders: Mapped[int]
    revenue: Mapped[Decimal] = mapped_column(ExactDecimal(18, 5), index=True)


class CountrySalesModel(VersionMixin, Base):
    """Row with the totals of a country."""

    __tablename__ = "country_sales"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    orders: Mapped[int]
    cancellations: Mapped[int]
    lines: Mapped[int]
    customers: Mapped[int]
    late_orders: Mapped[int]
    revenue: Mapped[Decimal] = mapped_column(ExactDecimal(18, 5))


def install(connection: Connection, style: Style) -> None:
    """Create missing tables in the caller's transaction; several processes may do so at once.

    Raises ``ConfigError`` and ``PersistenceError`` for tables of another version or style.
    """
    schema.install(connection)  # Locks out other processes until the commit.
    check(connection, style)
    tables = Base.metadata.sorted_tables
    if style == "events":
        tables = [table for table in tables if table is not OrderModel.__table__]
    Base.metadata.create_all(connection, tables=tables)


def check(connection: Connection, style: Style) -> None:
    """Raise ``ConfigError`` for tables of another version or style; missing tables are allowed."""
    inspector = inspect(connection)
    present = Base.metadata.tables.keys() & set(inspector.get_table_names())
    for name in sorted(present):
        table = Base.metadata.tables[name]
        found = {column["name"] for column in inspector.get_columns(name)}
        if found != set(table.columns.keys()):
            raise ConfigError(
                f"table {name} has another version or belongs to another application: it has "
                f"the columns {', '.join(sorted(found))}; use another database"
            )
    kept = "state" if OrderModel.__tablename__ in present else "events"
    if present and kept != style:
        # In the other style orders would be missing, or rows would lack the newest events.
        raise ConfigError(
            f"the orders of this database are kept as {kept}; set STYLE={kept}, or use another "
            "database"
        )
