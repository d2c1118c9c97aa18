"""Specifications beside conditions that were written by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from sqlalchemy import BigInteger, Numeric, Text, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_persistence_sqlalchemy.schema.column_types import UtcDateTime
from cqrs_ddd_persistence_sqlalchemy.specifications import build_sqla_filter
from cqrs_ddd_specifications import AttributeSpecification as where
from cqrs_ddd_specifications import Specification

from .measuring import Row, repeated

OBJECTS = 100_000
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
LATER = START + timedelta(days=1)


@dataclass
class Order:
    id: int
    status: str
    total: Decimal | None
    placed_at: datetime


class Base(DeclarativeBase):
    pass


class OrderRow(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    status: Mapped[str] = mapped_column(Text)
    total: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime)


def rows() -> list[Row]:
    orders = [
        Order(n, ("open", "closed")[n % 2], Decimal(n % 100), START + timedelta(seconds=n))
        for n in range(OBJECTS)
    ]
    thirty = Decimal(30)
    satisfies = specification().predicate_for(Order)

    def by_hand() -> None:
        list(
            filter(
                lambda order: (
                    order.status == "open"
                    and order.total is not None
                    and order.total >= thirty
                    and order.placed_at < LATER
                ),
                orders,
            )
        )

    return [
        Row(
            f"filter {OBJECTS:,} objects by three conditions",
            "filter with a lambda",
            repeated(lambda: list(filter(satisfies, orders))),
            repeated(by_hand),
            1 / 0.4,
            items=OBJECTS,
            rounds=15,
        ),
        Row(
            "ask an object by is_satisfied_by",
            "a lambda over the same objects",
            repeated(lambda: list(map(specification().is_satisfied_by, orders))),
            repeated(by_hand),
            items=OBJECTS,
            rounds=15,
        ),
        Row(
            "from three conditions to the key of a cached statement",
            "the same SELECT by hand",
            repeated(_compiled),
            repeated(_written),
            3.0,
        ),
    ]


def specification() -> Specification:
    return (where("status", "=", "open") & where("total", ">=", Decimal(30))) & where(
        "placed_at", "<", LATER
    )


def _compiled() -> None:
    select(OrderRow).where(build_sqla_filter(OrderRow, specification()))._generate_cache_key()


def _written() -> None:
    select(OrderRow).where(
        OrderRow.status == "open", OrderRow.total >= Decimal(30), OrderRow.placed_at < LATER
    )._generate_cache_key()
