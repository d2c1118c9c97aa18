"""The order service written by hand: FastAPI and the SQLAlchemy ORM, without the toolkit.

It has the same endpoints, bodies and rows as the order service of the examples, except that it
keeps no events: the order list is the table of orders, which the command itself updates. Each
command has an idempotency key, a version column, the revenue of its day, and an outbox message per
change, in one transaction.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, timezone
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any
from uuid import uuid4

import sqlalchemy as sa
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.dialects.postgresql import JSON, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base class of the tables."""


class OrderRow(Base):
    """Order with its lines, which the version column protects from lost updates."""

    __tablename__ = "hand_orders"
    __table_args__ = (sa.Index("ix_hand_orders_list", sa.desc("placed_at"), "id"),)

    id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    version: Mapped[int] = mapped_column()
    customer_id: Mapped[str] = mapped_column(sa.Text)
    city: Mapped[str] = mapped_column(sa.Text)
    country: Mapped[str] = mapped_column(sa.Text)
    placed_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))
    is_cancellation: Mapped[bool]
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    amount: Mapped[Decimal] = mapped_column(sa.Numeric(18, 5))

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class DayRow(Base):
    """Revenue of a day."""

    __tablename__ = "hand_days"

    id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    lines: Mapped[int]
    revenue: Mapped[Decimal] = mapped_column(sa.Numeric(18, 5))


class KeyRow(Base):
    """Idempotency key of a request, with its response."""

    __tablename__ = "hand_keys"

    key: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(sa.Text)
    response: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class MessageRow(Base):
    """Message that a relay publishes."""

    __tablename__ = "hand_outbox"
    __table_args__ = (
        sa.Index("ix_hand_outbox_waiting", "seq", postgresql_where=sa.text("published_at IS NULL")),
    )

    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    message_id: Mapped[str] = mapped_column(sa.Text, unique=True)
    event_type: Mapped[str] = mapped_column(sa.Text)
    partition_key: Mapped[str] = mapped_column(sa.Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    published_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))


class Line(BaseModel):
    """Line of an order."""

    model_config = ConfigDict(extra="forbid")

    id: str
    product_id: str
    product: str
    quantity: int
    unit_price: Decimal
    discount: Decimal = Decimal(0)

    @property
    def amount(self) -> Decimal:
        """Price of the line."""
        return self.quantity * self.unit_price * (1 - self.discount)


class NewLine(BaseModel):
    """Line with the data of its order."""

    model_config = ConfigDict(extra="forbid")

    customer_id: str
    city: str = ""
    country: str
    placed_at: AwareDatetime
    is_cancellation: bool = False
    line: Line


class LineAnswer(BaseModel):
    """Result of adding a line."""

    order_id: str
    line_id: str
    result: str


class Day(BaseModel):
    """Revenue of one day."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    lines: int = 0
    revenue: Decimal = Decimal(0)


class Order(BaseModel):
    """Row of the order list."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    customer_id: str
    country: str
    placed_at: AwareDatetime
    is_cancellation: bool
    lines: Annotated[int, Field(ge=0)]
    amount: Decimal
    days_to_ship: int | None = None


class Page(BaseModel):
    """Page of the order list."""

    orders: list[Order]
    next: str | None


router = APIRouter()


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Open a session, and commit it before the response is sent."""
    async with request.app.state.sessions.begin() as session:
        yield session


Session = Annotated[AsyncSession, Depends(open_session, scope="function")]


@router.post("/orders/{order_id}/lines", status_code=201)
async def add_line(
    order_id: str,
    body: NewLine,
    session: Session,
    response: Response,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> LineAnswer:
    """Add a line to an order; the first line places it."""
    key = idempotency_key or str(uuid4())
    given = blake2b(f"{order_id} {body.model_dump_json()}".encode()).hexdigest()
    register = insert(KeyRow).values(key=key, fingerprint=given).on_conflict_do_nothing()
    registered = await session.execute(register.returning(KeyRow.key))
    if registered.first() is None:
        stored = await session.get_one(KeyRow, key)
        if stored.fingerprint != given:
            raise HTTPException(422, "the key was used before")
        return LineAnswer.model_validate(stored.response)
    order = await session.get(OrderRow, order_id)
    facts = body.model_dump(exclude={"line"})
    line = json.loads(body.line.model_dump_json())
    if order is None:
        order = OrderRow(id=order_id, lines=[], amount=Decimal(0), **facts)
        session.add(order)
        session.add(_create_message("OrderPlaced", order_id, json.loads(body.model_dump_json())))
    elif any(each["id"] == body.line.id for each in order.lines):
        response.status_code = 200
        return LineAnswer(order_id=order_id, line_id=body.line.id, result="duplicate")
    elif (order.customer_id, order.country) != (body.customer_id, body.country):
        raise HTTPException(409, "the order has another customer")
    order.lines = [*order.lines, line]
    order.amount += body.line.amount
    session.add(_create_message("LineAdded", order_id, line))
    await session.flush()
    await session.execute(_add_revenue(body))
    answer = LineAnswer(order_id=order_id, line_id=body.line.id, result="added")
    store = sa.update(KeyRow).where(KeyRow.key == key).values(response=answer.model_dump())
    await session.execute(store)
    return answer


@router.get("/orders")
async def list_orders(
    request: Request,
    session: Session,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Page:
    """Return a page of the order list, newest first."""
    query = sa.select(OrderRow).order_by(OrderRow.placed_at.desc(), OrderRow.id).limit(limit + 1)
    if after is not None:
        last = await session.get(OrderRow, after)
        if last is None:
            raise HTTPException(404, "there is no such order")
        query = query.where(
            OrderRow.placed_at <= last.placed_at,
            sa.or_(OrderRow.placed_at < last.placed_at, OrderRow.id > last.id),
        )
    found = list(await session.scalars(query))
    orders = [
        Order.model_validate({**row.__dict__, "lines": len(row.lines)}) for row in found[:limit]
    ]
    following = f"{request.url.path}?after={orders[-1].id}" if len(found) > limit else None
    return Page(orders=orders, next=following)


@router.get("/revenue/{day}")
async def revenue(day: date, session: Session) -> Day:
    """Return the revenue of a day."""
    found = await session.get(DayRow, day.isoformat())
    return Day(id=day.isoformat()) if found is None else Day.model_validate(found)


def create_app() -> FastAPI:
    """Create the application for the database of the variable ``DATABASE_URL``."""
    engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=20, max_overflow=0)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
        yield
        await engine.dispose()

    app = FastAPI(title="Orders by hand", lifespan=lifespan)
    app.include_router(router)
    return app


def _create_message(event_type: str, order_id: str, payload: dict[str, Any]) -> MessageRow:
    return MessageRow(
        message_id=str(uuid4()), event_type=event_type, partition_key=order_id, payload=payload
    )


def _add_revenue(body: NewLine) -> sa.Executable:
    day = body.placed_at.astimezone(timezone.utc).date().isoformat()
    new = insert(DayRow).values(id=day, lines=1, revenue=body.line.amount)
    return new.on_conflict_do_update(
        index_elements=[DayRow.id],
        set_={"lines": DayRow.lines + 1, "revenue": DayRow.revenue + new.excluded.revenue},
    )
