"""Ids of aggregates whose class has no brackets, in tables and in event streams."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_advanced_core import EventSourcedRepository
from cqrs_ddd_core import AggregateRoot, DomainEvent
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyRepository
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory


class Base(DeclarativeBase):
    pass


class Counted(DomainEvent):
    number: int


class Counter(AggregateRoot):
    number: int = 0

    def apply_Counted(self, event: Counted) -> None:
        self.number = event.number


class TextRow(Base):
    __tablename__ = "text_counters"

    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    number: Mapped[int]


class NumberRow(Base):
    __tablename__ = "number_counters"

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int]
    number: Mapped[int]


class UuidRow(Base):
    __tablename__ = "uuid_counters"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    version: Mapped[int]
    number: Mapped[int]


@pytest.mark.parametrize(
    ("model", "entity_id"),
    [(TextRow, "c"), (NumberRow, 5), (UuidRow, uuid.UUID(int=7))],
    ids=["text", "number", "uuid"],
)
async def test_aggregate_without_brackets_is_stored_under_each_kind_of_id(
    session_factory: SessionFactory,
    engine: AsyncEngine,
    new_uow: NewUnitOfWork,
    model: type[Base],
    entity_id: object,
) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    rows = SQLAlchemyRepository(Counter, model, session_factory)
    streams = EventSourcedRepository(Counter)
    counter = Counter(id=entity_id)
    counter.add_event(Counted(number=3))

    async with new_uow() as uow:
        await rows.add(counter.model_copy(deep=True), uow)
        await streams.add(counter, uow)
    async with new_uow() as uow:
        found = [await rows.get(entity_id, uow), await streams.get(entity_id, uow)]

    assert found == [counter, counter]
