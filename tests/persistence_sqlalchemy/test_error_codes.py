"""Tests that errors are recognised by codes and names, in whatever language the server speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, ForeignKey, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.primitives.exceptions import (
    ConstraintViolationError,
    DuplicateKeyError,
    ErrorClass,
    InvalidDataError,
    ValidationError,
    classify_error,
)
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyRepository, VersionMixin
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory

on_postgres = pytest.mark.parametrize("backend", ["postgres"], indirect=True)


class Account(AggregateRoot[int]):
    owner: str | None = None
    cents: int = 0
    bank: int | None = None
    code: str | None = "x"
    slot: int | None = None


class Note(AggregateRoot[str]):
    text: str = ""


class Base(DeclarativeBase):
    pass


class BankModel(Base):
    __tablename__ = "banks"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)


class AccountModel(VersionMixin, Base):
    __tablename__ = "accounts"
    __table_args__ = (
        # SQLite checks unique constraints at once.
        UniqueConstraint("owner", name="uq_owner", deferrable=True, initially="DEFERRED").ddl_if(
            "postgresql"
        ),
        ExcludeConstraint(("slot", "="), using="btree", name="ex_slot").ddl_if("postgresql"),
        CheckConstraint("cents >= 0", name="ck_cents"),
    )
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    owner: Mapped[str | None] = mapped_column(Text)
    cents: Mapped[int] = mapped_column(Integer)
    bank: Mapped[int | None] = mapped_column(
        ForeignKey("banks.id", deferrable=True, initially="DEFERRED", name="fk_bank")
    )
    code: Mapped[str] = mapped_column(String(3))
    slot: Mapped[int | None] = mapped_column(Integer)


class NoteModel(VersionMixin, Base):
    __tablename__ = "notes"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    text: Mapped[str] = mapped_column(Text, unique=True)


@pytest.fixture
async def stored(
    engine: AsyncEngine, session_factory: SessionFactory
) -> AsyncIterator[tuple[SQLAlchemyRepository[Account, int], SQLAlchemyRepository[Note, str]]]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    yield (
        SQLAlchemyRepository(Account, AccountModel, session_factory),
        SQLAlchemyRepository(Note, NoteModel, session_factory),
    )
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


def has_german_translation(folder: str) -> bool:
    return bool(list(Path(folder).glob("de/LC_MESSAGES/postgres-*.mo")))


@on_postgres
async def test_server_of_the_tests_speaks_german_if_it_has_the_translation(
    engine: AsyncEngine,
) -> None:
    async with engine.connect() as connection:
        language = await connection.scalar(text("SHOW lc_messages"))
        folder = await connection.scalar(
            text("SELECT setting FROM pg_config WHERE name = 'LOCALEDIR'")
        )
        if language != "C.UTF-8":
            pytest.skip("a PostgreSQL that the tests did not start chooses its own language")
        if not has_german_translation(folder):
            pytest.skip("this PostgreSQL is built without translations, as the wheel is")

        with pytest.raises(DBAPIError, match="existiert nicht"):
            await connection.execute(text("SELECT missing_column"))


async def test_violated_unique_constraint_is_named_in_any_language(stored: Any) -> None:
    _, notes = stored
    await notes.add(Note(id="n-1", text="same"))

    with pytest.raises(DuplicateKeyError, match="another row has the same values for ") as caught:
        await notes.add(Note(id="n-2", text="same"))

    assert "text" in caught.value.constraint
    assert classify_error(caught.value) is ErrorClass.PERMANENT
    assert "same'" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "on_postgres", "on_sqlite"),
    [
        ({"cents": -1}, "ck_cents", "ck_cents"),
        ({"bank": 7}, "fk_bank", "FOREIGN KEY"),
        ({"code": None}, "code", "accounts.code"),
    ],
)
async def test_violated_constraint_is_a_permanent_error_with_its_name(
    stored: Any, engine: AsyncEngine, changes: Any, on_postgres: str, on_sqlite: str
) -> None:
    accounts, _ = stored

    with pytest.raises(ConstraintViolationError) as caught:
        await accounts.add(Account(id=1, **changes))

    expected = on_sqlite if engine.dialect.name == "sqlite" else on_postgres
    assert caught.value.constraint == expected
    assert not isinstance(caught.value, DuplicateKeyError)
    assert classify_error(caught.value) is ErrorClass.PERMANENT


async def test_deferred_constraint_keeps_its_name_when_the_commit_fails(
    stored: Any, engine: AsyncEngine, new_uow: NewUnitOfWork
) -> None:
    accounts, _ = stored

    async def add(*changes: dict[str, Any]) -> None:
        async with new_uow() as uow:
            for number, change in enumerate(changes, 1):
                await accounts.add(Account(id=number, **change), uow)

    with pytest.raises(ConstraintViolationError) as caught:
        await add({"bank": 7})

    assert caught.value.constraint == (
        "FOREIGN KEY" if engine.dialect.name == "sqlite" else "fk_bank"
    )
    if engine.dialect.name == "postgresql":
        with pytest.raises(DuplicateKeyError) as duplicate:
            await add({"owner": "anna"}, {"owner": "anna"})
        assert duplicate.value.constraint == "uq_owner"
    assert await accounts.list_all() == []


@on_postgres
async def test_row_that_an_exclusion_constraint_forbids_is_a_permanent_error(stored: Any) -> None:
    accounts, _ = stored
    await accounts.add(Account(id=1, slot=3))

    with pytest.raises(ConstraintViolationError, match="another row conflicts") as caught:
        await accounts.add(Account(id=2, slot=3))

    assert caught.value.constraint == "ex_slot"
    assert classify_error(caught.value) is ErrorClass.PERMANENT


@on_postgres  # SQLite stores a text with NUL.
async def test_value_that_does_not_fit_its_column_is_a_permanent_error(stored: Any) -> None:
    accounts, _ = stored

    with pytest.raises(InvalidDataError, match="SQLSTATE 22") as caught:
        await accounts.add(Account(id=1, code="a\x00"))

    assert classify_error(caught.value) is ErrorClass.PERMANENT
    assert "a\x00" not in str(caught.value)


async def test_value_beyond_the_limits_of_its_column_is_rejected_on_every_database(
    stored: Any,
) -> None:
    accounts, _ = stored

    cases: list[tuple[str, Any]] = [("code", "too long"), ("cents", 2**70)]
    for name, value in cases:
        with pytest.raises(ValidationError, match=f"column {name} ") as caught:
            await accounts.add(Account(id=1, **{name: value}))

        assert list(caught.value.errors) == [name]
        assert str(value) not in str(caught.value)


async def test_id_that_no_row_can_have_is_not_found(stored: Any, new_uow: NewUnitOfWork) -> None:
    accounts, notes = stored
    fake: InMemoryRepository[Account, int] = InMemoryRepository(Account)
    await accounts.add(Account(id=1))

    for entity_id in (2**31, -(2**31) - 1, 2**70):
        assert await fake.get(entity_id) is None
        assert await fake.delete(entity_id) == entity_id
    async with new_uow() as uow:
        for entity_id in (2**31, -(2**31) - 1, 2**70):
            assert await accounts.get(entity_id, uow) is None
            assert await accounts.delete(entity_id, uow) == entity_id
            assert [each.id for each in await accounts.list_all([entity_id, 1], uow)] == [1]
        for note_id in ("a\x00b", "\ud800"):
            assert await notes.get(note_id, uow) is None
            assert await notes.list_all([note_id], uow) == []
        assert await accounts.get(1, uow) is not None
