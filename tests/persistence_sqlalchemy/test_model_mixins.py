"""Tests of the mixins for models of aggregates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timezone

import pytest
from sqlalchemy import Text, text
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_core import AggregateRoot, ArchivableMixin, AuditableMixin
from cqrs_ddd_core.primitives.exceptions import (
    DuplicateKeyError,
    ErrorClass,
    InvalidOperationError,
    OptimisticConcurrencyError,
    classify_error,
)
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import (
    ArchivableModelMixin,
    AuditableModelMixin,
    VersionMixin,
    unique_unless_archived,
)
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from tests.persistence_sqlalchemy.conftest import SessionFactory

MONDAY = datetime(2026, 6, 1, tzinfo=timezone.utc)


class Account(AuditableMixin, ArchivableMixin, AggregateRoot[str]):
    email: str


class Base(DeclarativeBase):
    pass


class AccountModel(VersionMixin, AuditableModelMixin, ArchivableModelMixin, Base):
    __tablename__ = "mixin_accounts"
    __table_args__ = (unique_unless_archived("uq_accounts_email", "email"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    email: Mapped[str] = mapped_column(Text)


Accounts = SQLAlchemyRepository[Account, str]


@pytest.fixture
async def accounts(engine: AsyncEngine, session_factory: SessionFactory) -> AsyncIterator[Accounts]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield SQLAlchemyRepository(Account, AccountModel, session_factory)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


async def test_model_mixins_store_the_fields_of_the_aggregate_mixins(accounts: Accounts) -> None:
    account = Account(id="a-1", email="ann@example.org")
    account.touch(MONDAY, by="ada")
    account.archive(MONDAY, by="grace")

    await accounts.add(account)

    assert await accounts.get("a-1") == account


async def test_row_added_without_a_repository_has_the_version_of_a_first_save(
    accounts: Accounts, session_factory: SessionFactory
) -> None:
    async with session_factory() as session:
        session.add(AccountModel(id="a-1", email="ann@example.org"))
        insert = "INSERT INTO mixin_accounts (id, email) VALUES ('a-2', 'bob@example.org')"
        await session.execute(text(insert))
        await session.commit()
    saved = Account(id="a-3", email="eve@example.org")
    await accounts.add(saved)

    for key in ("a-1", "a-2"):
        account = await accounts.get_one(key)
        assert account.version == saved.version
        account.touch(MONDAY, by="ada")
        await accounts.add(account)
        assert (await accounts.get_one(key)).version == saved.version + 1


async def test_unique_unless_archived_ignores_archived_aggregates(accounts: Accounts) -> None:
    old = Account(id="a-1", email="ann@example.org")
    await accounts.add(old)
    with pytest.raises(DuplicateKeyError):
        await accounts.add(Account(id="a-2", email="ann@example.org"))

    old.archive(MONDAY)
    await accounts.add(old)
    await accounts.add(Account(id="a-2", email="ann@example.org"))

    old.restore()
    with pytest.raises(DuplicateKeyError):
        await accounts.add(old)


async def test_duplicate_unique_value_is_a_permanent_error_and_not_a_conflict(
    accounts: Accounts, backend: str
) -> None:
    await accounts.add(Account(id="a-1", email="ann@example.org"))

    for keys in (["a-2"], ["a-3", "a-4"]):
        with pytest.raises(DuplicateKeyError) as caught:
            await accounts.add_many([Account(id=key, email="ann@example.org") for key in keys])
        assert not isinstance(caught.value, OptimisticConcurrencyError)
        assert classify_error(caught.value) is ErrorClass.PERMANENT
        wanted = "uq_accounts_email" if backend == "postgres" else "mixin_accounts.email"
        assert caught.value.constraint == wanted
        assert wanted in str(caught.value)


class IgnoringConflictsRepository(SQLAlchemyRepository[Account, str]):
    """Repository that inserts with ON CONFLICT DO NOTHING, for unique values, too."""

    def __init__(self, session_factory: SessionFactory) -> None:
        super().__init__(Account, AccountModel, session_factory)
        for is_postgres, sql in self._statements.items():
            insert = postgres_insert if is_postgres else sqlite_insert
            sql.insert = insert(self.mapper.table).on_conflict_do_nothing()


async def test_duplicate_value_check_catches_a_repository_that_reports_a_conflict(
    accounts: Accounts, session_factory: SessionFactory, backend: str
) -> None:
    naive = IgnoringConflictsRepository(session_factory)

    with pytest.raises(OptimisticConcurrencyError):
        await test_duplicate_unique_value_is_a_permanent_error_and_not_a_conflict(naive, backend)


async def test_unit_of_work_can_only_be_rolled_back_after_a_duplicate_unique_value(
    accounts: Accounts, session_factory: SessionFactory
) -> None:
    await accounts.add(Account(id="a-1", email="ann@example.org"))

    async def add_two() -> None:
        async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
            await accounts.add(Account(id="a-2", email="bob@example.org"), uow)
            with suppress(DuplicateKeyError):
                await accounts.add(Account(id="a-3", email="ann@example.org"), uow)

    with pytest.raises(InvalidOperationError, match="can only be rolled back"):
        await add_two()

    assert [account.id for account in await accounts.list_all()] == ["a-1"]
