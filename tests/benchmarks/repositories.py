"""Repository compared with Core statements on the same table."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from itertools import count
from typing import Any

from pydantic import AwareDatetime
from sqlalchemy import Enum as EnumType
from sqlalchemy import Integer, Text, delete, insert, make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyRepository,
    SQLAlchemyUnitOfWork,
    VersionMixin,
    configure_sqlite,
)
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import ExactDecimal, UtcDateTime

from .databases import Databases
from .measuring import Row, Side, SideContext
from .persistence import open_later

MANY = 1_000
ALL = 10_000


class Status(Enum):
    OPEN = "open"
    CLOSED = "closed"


class Order(AggregateRoot[str]):
    customer: str
    status: Status
    total: Decimal
    lines: int
    placed_at: AwareDatetime
    note: str | None = None


class Base(DeclarativeBase):
    pass


class OrderRow(VersionMixin, Base):
    __tablename__ = "bench_orders"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    customer: Mapped[str] = mapped_column(Text)
    status: Mapped[Status] = mapped_column(EnumType(Status, native_enum=False))
    total: Mapped[Decimal] = mapped_column(ExactDecimal(12, 2))
    lines: Mapped[int] = mapped_column(Integer)
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    note: Mapped[str | None] = mapped_column(Text)


_numbers = count(1)


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; the floor gets finished rows, our side reads them from aggregates."""
    return [
        Row(
            f"{name}: add_many of {MANY:,} aggregates",
            "Core: insert(...).returning(id) of the same rows",
            open_rows(databases, dialect, add_aggregates),
            open_rows(databases, dialect, insert_rows),
            1.5,
            items=MANY,
            rounds=20,
            seconds=0.1,
        )
        for dialect, name in (("postgresql", "PostgreSQL"), ("sqlite", "SQLite"))
    ]


@dataclass(frozen=True)
class Place:
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    orders: SQLAlchemyRepository[Order, str]


Work = Callable[[Place], Callable[[], Awaitable[float]]]


def open_rows(databases: Databases, dialect: str, work: Work, *, stored: int = 0) -> SideContext:
    return open_later(lambda: _open_rows(databases.url(dialect), work, stored))


@asynccontextmanager
async def _open_rows(url: str, work: Work, stored: int) -> AsyncIterator[Side]:
    engine = create_async_engine(make_url(url))
    if engine.dialect.name == "sqlite":
        configure_sqlite(engine)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    place = Place(engine, sessions, SQLAlchemyRepository(Order, OrderRow, sessions))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(delete(OrderRow.__table__))  # type: ignore[arg-type]
        if stored:
            await place.orders.add_many([new_order() for _ in range(stored)])
        run_once = work(place)

        async def side(number: int) -> float:
            return sum([await run_once() for _ in range(number)])

        yield side
    finally:
        await engine.dispose()


def add_aggregates(place: Place) -> Callable[[], Awaitable[float]]:
    async def add() -> float:
        orders = [new_order() for _ in range(MANY)]
        started = time.perf_counter()
        async with SQLAlchemyUnitOfWork(session_factory=place.sessions) as uow:
            await place.orders.add_many(orders, uow)
        return time.perf_counter() - started

    return add


def insert_rows(place: Place) -> Callable[[], Awaitable[float]]:
    table: Any = OrderRow.__table__

    async def add() -> float:
        rows = [{**dict(new_order()), "version": 1} for _ in range(MANY)]
        started = time.perf_counter()
        async with place.engine.begin() as connection:
            (await connection.execute(insert(table).returning(table.c.id), rows)).all()
        return time.perf_counter() - started

    return add


def list_aggregates(place: Place) -> Callable[[], Awaitable[float]]:
    async def list_all() -> float:
        started = time.perf_counter()
        assert len(await place.orders.list_all()) == ALL
        return time.perf_counter() - started

    return list_all


def new_order() -> Order:
    number = next(_numbers)
    return Order(
        id=f"order-{number:09}",
        customer=f"customer-{number % 97}",
        status=Status.OPEN,
        total=Decimal(number % 10_000) / 100,
        lines=number % 7,
        placed_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        note=None if number % 3 else "leave it with the neighbours",
    )
