"""Tests of the dead-letter store on SQLite and on PostgreSQL."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen, remove
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_advanced_core.ports.dead_letters import DeadLetter, DeadLetterState
from cqrs_ddd_advanced_core.testing.contracts.dead_letters import (
    DeadLetterStoreContract,
    add,
    make_dead_letter,
)
from cqrs_ddd_core import StreamId
from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyDeadLetterStore
from cqrs_ddd_persistence_sqlalchemy.advanced.dead_letters import Place
from cqrs_ddd_persistence_sqlalchemy.engine import driver, fetch, is_postgres
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory


@pytest.fixture
def engine(forgetful_engine: AsyncEngine) -> AsyncEngine:
    return forgetful_engine


@pytest.fixture
def dead_letters(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyDeadLetterStore:
    return SQLAlchemyDeadLetterStore(session_factory, tables=tables)


class TestSQLAlchemyDeadLetterStore(DeadLetterStoreContract):
    pass


class UnconditionalAddStore(SQLAlchemyDeadLetterStore):
    """Store in which a dead letter added after a retry never becomes due."""

    async def _release_unblocked(
        self, connection: AsyncConnection, projection: str, waiting: Sequence[DeadLetter]
    ) -> None:
        pass


class UnlockedReadStore(SQLAlchemyDeadLetterStore):
    """Store in which a dead letter added during a retry does not become due."""

    async def _select_streams(
        self,
        connection: AsyncConnection,
        statement: str,
        projection: str,
        streams: Iterable[Place],
    ) -> set[Place]:
        found = await self.list_dead_letters(projection)
        return {
            (each.tenant_id, *each.stream)
            for each in found
            if each.state is DeadLetterState.POISON and not each.is_due
        } & set(streams)


@pytest.mark.parametrize(
    ("backend", "naive_store", "test_name"),
    [
        (
            "sqlite",
            UnconditionalAddStore,
            "test_dead_letter_added_after_a_retry_or_discard_of_its_stream_is_retryable",
        ),
        (
            "postgres",
            UnconditionalAddStore,
            "test_dead_letter_added_after_a_retry_or_discard_of_its_stream_is_retryable",
        ),
        (
            "postgres",
            UnlockedReadStore,
            "test_dead_letter_added_during_a_retry_or_discard_becomes_retryable",
        ),
    ],
    indirect=["backend"],
)
async def test_dead_letter_store_contract_catches_each_wrong_sql_store(
    naive_store: type[SQLAlchemyDeadLetterStore],
    test_name: str,
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
) -> None:
    test: Callable[..., Any] = getattr(DeadLetterStoreContract(), test_name)
    given = {"dead_letters": naive_store(session_factory, tables=tables), "new_uow": new_uow}

    with pytest.raises(AssertionError):
        await test(**{name: given[name] for name in inspect.signature(test).parameters})


async def test_dead_letter_reads_of_a_batch_are_one_indexed_statement_each(
    engine: AsyncEngine,
    tables: Tables,
    dead_letters: SQLAlchemyDeadLetterStore,
    new_uow: NewUnitOfWork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add(
        dead_letters, new_uow, make_dead_letter("p", 1, is_due=True), make_dead_letter("p", 2, "b")
    )
    fetched: list[tuple[str, tuple[Any, ...]]] = []

    async def fetch_and_record(connection: AsyncConnection, statement: str, *values: Any) -> Any:
        fetched.append((statement, values))
        return await fetch(connection, statement, *values)

    monkeypatch.setattr(driver, "fetch", fetch_and_record)
    with _record_statements(engine) as sent:
        async with new_uow() as uow:
            await dead_letters.blocked_streams("p", [StreamId("Parcel", "a")], uow=uow)
            await dead_letters.retryable("p", uow=uow)

    (held,), (due,) = fetched, sent
    assert "_held" in await _explain(engine, *held)
    assert "_due" in await _explain(engine, *due)


@contextmanager
def _record_statements(engine: AsyncEngine) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    sent: list[tuple[str, tuple[Any, ...]]] = []

    def note(connection: object, cursor: object, statement: str, values: Any, *_: object) -> None:
        sent.append((statement, tuple(values)))

    listen(engine.sync_engine, "before_cursor_execute", note)
    yield sent
    remove(engine.sync_engine, "before_cursor_execute", note)


async def _explain(engine: AsyncEngine, statement: str, values: tuple[Any, ...]) -> str:
    async with engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN"
        if is_postgres(connection):
            # PostgreSQL reads a small table sequentially.
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN"
        rows = await connection.exec_driver_sql(f"{explain} {statement}", values)
        return "\n".join(str(row) for row in rows)
