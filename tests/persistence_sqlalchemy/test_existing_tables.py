"""Tests of repositories over tables that were not made for the toolkit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import declarative_base

from cqrs_ddd_core import AggregateRoot, ConfigError, DomainEvent
from cqrs_ddd_core.primitives.exceptions import (
    AlreadyExistsError,
    OptimisticConcurrencyError,
    SerializationError,
)
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.repository.model_mapper import ModelMapper
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import UtcDateTime
from tests.persistence_sqlalchemy.conftest import SessionFactory

VERSIONS = (None, 0, -1, -7, 1, 2**40)


class DepotRenamed(DomainEvent):
    name: str


class Depot(AggregateRoot[UUID]):
    name: str

    def rename(self, name: str) -> None:
        self.add_event(DepotRenamed(name=name))

    def apply_DepotRenamed(self, event: DepotRenamed) -> None:
        self.name = event.name


class DepotModel(declarative_base()):  # type: ignore[misc]
    __tablename__ = "existing_depots"
    id = sa.Column(sa.Uuid, primary_key=True)
    revision = sa.Column(sa.BigInteger)
    name = sa.Column(sa.Text, nullable=False)


Depots = SQLAlchemyRepository[Depot, UUID]


@pytest.fixture
async def depots(engine: AsyncEngine, session_factory: SessionFactory) -> AsyncIterator[Depots]:
    async with engine.begin() as connection:
        await connection.run_sync(DepotModel.metadata.create_all)
    mapper = ModelMapper(Depot, DepotModel, names={"version": "revision"})
    yield Depots(Depot, DepotModel, session_factory, mapper=mapper)
    async with engine.begin() as connection:
        await connection.run_sync(DepotModel.metadata.drop_all)


async def _insert(engine: AsyncEngine, *versions: int | None) -> list[UUID]:
    """Insert a row with each version, as another program would, and return the ids."""
    ids = [UUID(int=number) for number, _ in enumerate(versions, 1)]
    rows = [
        {"id": key, "revision": version, "name": "old"}
        for key, version in zip(ids, versions, strict=True)
    ]
    async with engine.begin() as connection:
        await connection.execute(sa.insert(DepotModel), rows)
    return ids


async def test_loaded_row_is_saved_whatever_its_version_number(
    depots: Depots, engine: AsyncEngine, session_factory: SessionFactory
) -> None:
    ids = await _insert(engine, *VERSIONS)

    async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
        for depot in await depots.list_all(ids, uow):
            depot.rename("new")
            await depots.add(depot, uow)
            await depots.add(depot, uow)  # A second save in the same unit of work.
    for depot in await depots.list_all(ids):
        depot.name = "newest"
        await depots.add(depot)

    found = await depots.list_all(ids)
    assert [depot.name for depot in found] == ["newest"] * len(VERSIONS)
    assert [depot.version for depot in found] == [(version or 0) + 2 for version in VERSIONS]


@pytest.mark.parametrize("version", VERSIONS)
async def test_second_writer_of_a_row_with_any_version_number_gets_a_conflict(
    depots: Depots, engine: AsyncEngine, version: int | None
) -> None:
    (key,) = await _insert(engine, version)
    first, second = await depots.get(key), await depots.get(key)
    assert first is not None
    assert second is not None
    await depots.add(first)

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await depots.add(second)

    assert not isinstance(caught.value, AlreadyExistsError)
    assert (caught.value.expected, caught.value.actual) == (version or 0, (version or 0) + 1)


async def test_new_aggregate_with_the_id_of_a_row_without_a_version_exists_already(
    depots: Depots, engine: AsyncEngine
) -> None:
    (key,) = await _insert(engine, None)

    with pytest.raises(AlreadyExistsError):
        await depots.add(Depot(id=key, name="another"))


async def test_ids_that_are_read_have_the_standard_uuid_class(
    depots: Depots, engine: AsyncEngine
) -> None:
    ids = await _insert(engine, 1)

    found = await depots.list_all(ids)

    assert [type(depot.id) for depot in found] == [UUID]


class Offer(AggregateRoot[str]):
    since: datetime | None = None
    until: datetime | None = None


class OfferModel(VersionMixin, declarative_base()):  # type: ignore[misc]
    __tablename__ = "existing_offers"
    id = sa.Column(sa.Text, primary_key=True)
    since = sa.Column(UtcDateTime)
    until = sa.Column(sa.DateTime(timezone=True))


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("column", ["since", "until"])
async def test_row_with_infinity_is_not_read_as_a_time(
    engine: AsyncEngine, session_factory: SessionFactory, column: str
) -> None:
    offers = SQLAlchemyRepository[Offer, str](Offer, OfferModel, session_factory)
    insert = f"INSERT INTO existing_offers (id, version, {column}) VALUES ('o-1', 1, 'infinity')"
    async with engine.begin() as connection:
        await connection.run_sync(OfferModel.metadata.create_all)
        await connection.execute(sa.text(insert))
    try:
        with pytest.raises(SerializationError, match=f"row of Offer o-1 .* column {column}: inf"):
            await offers.get("o-1")
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(OfferModel.metadata.drop_all)


class Invoice(AggregateRoot[int]):
    net: int
    gross: int = 0


def _make_invoices(**columns: Any) -> Any:
    body = {
        "__tablename__": "existing_invoices",
        "id": sa.Column(sa.BigInteger, primary_key=True),
        "net": sa.Column(sa.Integer),
        "gross": sa.Column(sa.Integer),
        **columns,
    }
    return type("InvoiceModel", (VersionMixin, declarative_base()), body)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"gross": sa.Column(sa.Integer, sa.Computed("net * 2"))},
            "gross: gross is computed by the database; leave the field out",
        ),
        (
            {"id": sa.Column(sa.BigInteger, sa.Identity(always=True), primary_key=True)},
            "id: the database rejects values for id; use Identity(always=False)",
        ),
        (
            {"version": sa.Column(sa.BigInteger, sa.Computed("1"))},
            "version: version is computed by the database",
        ),
        (
            {
                "id": sa.Column(sa.BigInteger),
                "__table_args__": (sa.PrimaryKeyConstraint("id", deferrable=True),),
            },
            "deferrable primary key, by which PostgreSQL finds no existing row",
        ),
    ],
)
def test_column_that_takes_no_values_is_rejected_by_the_mapper(
    columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelMapper(Invoice, _make_invoices(**columns))

    assert message in str(caught.value)


async def test_computed_column_without_a_field_and_identity_by_default_are_accepted(
    engine: AsyncEngine, session_factory: SessionFactory
) -> None:
    model = _make_invoices(
        id=sa.Column(sa.BigInteger, sa.Identity(), primary_key=True),
        half=sa.Column(sa.Integer, sa.Computed("net / 2", persisted=True), nullable=False),
    )
    invoices = SQLAlchemyRepository[Invoice, int](Invoice, model, session_factory)
    async with engine.begin() as connection:
        await connection.run_sync(model.metadata.create_all)
    try:
        await invoices.add(Invoice(id=7, net=10))
        found = await invoices.get(7)
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(model.metadata.drop_all)

    assert found == Invoice(id=7, net=10)
