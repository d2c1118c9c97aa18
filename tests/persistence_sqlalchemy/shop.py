"""Aggregate with every kind of field, and its tables."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, PlainSerializer, RootModel
from sqlalchemy import (
    BigInteger,
    Date,
    Float,
    ForeignKey,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    String,
    Text,
    Time,
    Uuid,
)
from sqlalchemy import Enum as EnumType
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from cqrs_ddd_core import AggregateRoot, ArchivableMixin, AuditableMixin, ValueObject
from cqrs_ddd_persistence_sqlalchemy.repository.model_mapper import ModelMapper
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import (
    ArchivableModelMixin,
    AuditableModelMixin,
    VersionMixin,
)
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import ExactDecimal, Json, UtcDateTime


class Status(Enum):
    OPEN = "open"
    SHIPPED = "shipped ☃"


class Priority(IntEnum):
    LOW = 1
    HIGH = 10


class Email(RootModel[str]):
    model_config = ConfigDict(frozen=True)


class Price(ValueObject):
    amount: Decimal
    currency: str = "EUR"


class Place(ValueObject):
    city: str
    lines: tuple[str, ...] = ()
    known_since: AwareDatetime | None = None


class Window(ValueObject):
    price: Price
    note: str | None = None


class Line(ValueObject):
    sku: str
    quantity: int
    price: Price


class Order(AuditableMixin, ArchivableMixin, AggregateRoot[UUID]):
    owner: str
    status: Status = Status.OPEN
    shown_status: Status = Status.OPEN
    priority: Priority | None = None
    email: Email | None = None
    total: Decimal | None = None
    price: Price = Price(amount=Decimal("0.00"))
    discount: Price | None = None
    window: Window | None = None
    place: Place | None = None
    places: list[Place] = Field(default_factory=list)
    labels: dict[str, Any] = Field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    ordered_at: AwareDatetime | None = None
    due: date | None = None
    opens: time | None = None
    lasts: timedelta | None = None
    weight: float | None = None
    count: int | None = None
    paid: bool | None = None
    photo: bytes | None = None
    reference: UUID | None = None
    shouted: Annotated[str, PlainSerializer(str.upper)] | None = None
    lines: list[Line] = Field(default_factory=list)
    notes: tuple[Price, ...] = ()


class Base(DeclarativeBase):
    metadata = MetaData()


class OrderModel(VersionMixin, AuditableModelMixin, ArchivableModelMixin, Base):
    __tablename__ = "orders"

    key: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    owner_name: Mapped[str] = mapped_column(Text)
    status: Mapped[Status] = mapped_column(EnumType(Status, native_enum=False, length=20))
    shown_status: Mapped[str] = mapped_column("shown", String(20))
    priority: Mapped[int | None] = mapped_column(Integer)
    email: Mapped[str | None] = mapped_column(Text)
    total: Mapped[Decimal | None] = mapped_column(ExactDecimal(18, 4))
    price_amount: Mapped[Decimal] = mapped_column(ExactDecimal(12, 2))
    price_currency: Mapped[str] = mapped_column(Text)
    discount_amount: Mapped[Decimal | None] = mapped_column(ExactDecimal(12, 2))
    discount_code: Mapped[str | None] = mapped_column(Text)
    window_price_amount: Mapped[Decimal | None] = mapped_column(ExactDecimal(12, 2))
    window_price_currency: Mapped[str | None] = mapped_column(Text)
    window_note: Mapped[str | None] = mapped_column(Text)
    place: Mapped[Any | None] = mapped_column(Json)
    places: Mapped[Any] = mapped_column(Json)
    labels: Mapped[Any] = mapped_column(Json)
    tags: Mapped[Any] = mapped_column(Json)
    ordered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    due: Mapped[date | None] = mapped_column(Date)
    opens: Mapped[time | None] = mapped_column(Time)
    lasts: Mapped[timedelta | None] = mapped_column(Interval)
    weight: Mapped[float | None] = mapped_column(Float(53))
    count: Mapped[int | None] = mapped_column(BigInteger)
    paid: Mapped[bool | None]
    photo: Mapped[bytes | None] = mapped_column(LargeBinary)
    reference: Mapped[UUID | None] = mapped_column(Uuid)
    shouted: Mapped[str | None] = mapped_column(Text)
    stock: Mapped[int] = mapped_column(Integer, default=7)

    lines: Mapped[list[LineModel]] = relationship()
    notes: Mapped[list[NoteModel]] = relationship()


class LineModel(Base):
    __tablename__ = "order_lines"

    order_key: Mapped[UUID] = mapped_column(ForeignKey("orders.key"), primary_key=True)
    position: Mapped[int] = mapped_column("place", primary_key=True)
    sku: Mapped[str] = mapped_column(Text)
    quantity: Mapped[int]
    price_amount: Mapped[Decimal] = mapped_column(ExactDecimal(12, 2))
    price_currency: Mapped[str] = mapped_column(Text)


class NoteModel(Base):
    __tablename__ = "order_notes"

    number: Mapped[int] = mapped_column(primary_key=True)
    order_key: Mapped[UUID] = mapped_column(ForeignKey("orders.key"))
    amount: Mapped[Decimal] = mapped_column(ExactDecimal(12, 2))
    currency: Mapped[str] = mapped_column(Text)


def order_mapper() -> ModelMapper[Order]:
    return ModelMapper(
        Order,
        OrderModel,
        names={"owner": "owner_name", "discount.currency": "discount_code"},
        relations=("lines", "notes"),
    )
