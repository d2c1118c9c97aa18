"""Specifications compared with hand-written conditions."""

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

from .measuring import Row, repeat_call

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


def build_rows() -> list[Row]:
    orders = [
        Order(n, ("open", "closed")[n % 2], Decimal(n % 100), START + timedelta(seconds=n))
        for n in range(OBJECTS)
    ]
    thirty = Decimal(30)
    satisfies = new_specification().predicate_for(Order)

    def filter_by_hand() -> None:
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
            repeat_call(lambda: list(filter(satisfies, orders))),
            repeat_call(filter_by_hand),
            1 / 0.4,
            items=OBJECTS,
            rounds=15,
        ),
        Row(
            "ask an object by is_satisfied_by",
            "a lambda over the same objects",
            repeat_call(lambda: list(map(new_specification().is_satisfied_by, orders))),
            repeat_call(filter_by_hand),
            items=OBJECTS,
            rounds=15,
        ),
        Row(
            "from three conditions to the key of a cached statement",
            "the same SELECT by hand",
            repeat_call(_compile_specification),
            repeat_call(_compile_by_hand),
            3.0,
        ),
    ]


def new_specification() -> Specification:
    return (where("status", "=", "open") & where("total", ">=", Decimal(30))) & where(
        "placed_at", "<", LATER
    )


def _compile_specification() -> None:
    select(OrderRow).where(build_sqla_filter(OrderRow, new_specification()))._generate_cache_key()


def _compile_by_hand() -> None:
    select(OrderRow).where(
        OrderRow.status == "open", OrderRow.total >= Decimal(30), OrderRow.placed_at < LATER
    )._generate_cache_key()
