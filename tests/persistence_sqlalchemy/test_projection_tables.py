"""Tests of the tables of collections: their fields, indexes, replacement and removal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from decimal import Decimal
from typing import Any
from zlib import crc32

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.pool import AsyncAdaptedQueuePool

from cqrs_ddd_advanced_core.exceptions import ProjectionStoreError
from cqrs_ddd_advanced_core.testing.contracts.documents import new_collection
from cqrs_ddd_advanced_core.testing.contracts.projections import ProjectionStoreContract
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError, ConfigError
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork, Tables, schema
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyProjectionStore
from cqrs_ddd_persistence_sqlalchemy.advanced.projections.collection_tables import CollectionTable
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory


@pytest.fixture
def store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyProjectionStore:
    return SQLAlchemyProjectionStore(session_factory, tables=tables)


@pytest.fixture
async def other_store(
    new_engine: Callable[..., AsyncEngine], tables: Tables
) -> AsyncIterator[SQLAlchemyProjectionStore]:
    """Store of another process, which does not see changes of the fields in this process."""
    engine = new_engine(pool_size=5, poolclass=AsyncAdaptedQueuePool)
    yield SQLAlchemyProjectionStore(async_sessionmaker(engine), tables=tables)
    await engine.dispose()


def create_uow(store: SQLAlchemyProjectionStore, tables: Tables) -> SQLAlchemyUnitOfWork:
    return SQLAlchemyUnitOfWork(session_factory=store._connections.session_factory, tables=tables)


async def replace_live(
    store: SQLAlchemyProjectionStore, tables: Tables, live: str, fields: dict[str, Any]
) -> None:
    """Replace the live collection by one with other fields and one document."""
    await store.ensure_collection(f"{live}__rebuild", fields)
    doc = {name: 1 for name, kind in fields.items() if kind is int}
    await store.upsert(f"{live}__rebuild", "new", doc)
    async with create_uow(store, tables) as uow:
        await store.replace_collection(live, f"{live}__rebuild", uow=uow)


async def write_with_outdated_fields(
    store: SQLAlchemyProjectionStore, other_store: SQLAlchemyProjectionStore, tables: Tables
) -> list[dict[str, Any]]:
    """Write a document by a process with outdated fields; return the search by the new field."""
    live = new_collection()
    await store.ensure_collection(live, {"lines": int})
    await other_store.upsert(live, "old", {"lines": 1})
    await replace_live(store, tables, live, {"lines": int, "total": int})

    await other_store.upsert(live, "late", {"lines": 2, "total": 5})

    return await (await store.find(live, AttributeSpecification("total", "=", 5)))


async def test_process_with_outdated_fields_fills_the_new_fields(
    store: SQLAlchemyProjectionStore, other_store: SQLAlchemyProjectionStore, tables: Tables
) -> None:
    found = await write_with_outdated_fields(store, other_store, tables)

    assert found == [{"lines": 2, "total": 5}]


async def test_outdated_fields_check_catches_a_statement_that_leaves_new_fields_empty(
    store: SQLAlchemyProjectionStore,
    other_store: SQLAlchemyProjectionStore,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CollectionTable, "_shape", f"shape_{crc32(b''):08x}")

    found = await write_with_outdated_fields(store, other_store, tables)

    assert found == []


async def test_process_with_outdated_fields_searches_by_the_new_fields(
    store: SQLAlchemyProjectionStore, other_store: SQLAlchemyProjectionStore, tables: Tables
) -> None:
    live = new_collection()
    await store.ensure_collection(live, {"lines": int, "total": str})
    await other_store.upsert(live, "old", {"lines": 1, "total": "1"})
    page = QueryOptions().with_ordering("total")
    stale = await other_store.find(live, page)
    await replace_live(store, tables, live, {"lines": int, "total": int})

    assert await stale == [{"lines": 1, "total": 1}]
    assert [doc async for doc in stale.stream()] == [{"lines": 1, "total": 1}]
    found = await other_store.find(live, AttributeSpecification("total", "=", 1))
    assert [doc async for doc in found.stream()] == [{"lines": 1, "total": 1}]


async def test_write_to_a_replaced_table_conflicts_once_and_a_retry_succeeds(
    store: SQLAlchemyProjectionStore,
    other_store: SQLAlchemyProjectionStore,
    tables: Tables,
    backend: str,
) -> None:
    live = new_collection()
    await store.ensure_collection(live, {"lines": int})
    await other_store.upsert(live, "old", {"lines": 1})
    await replace_live(store, tables, live, {"total": int})

    async def write() -> None:
        async with create_uow(other_store, tables) as uow:
            await other_store.upsert(live, "late", {"total": 5}, uow=uow)

    if backend == "postgres":
        with pytest.raises(ConcurrencyError, match="was replaced at the same time"):
            await write()
    await write()

    assert await store.get(live, "late") == {"total": 5}


async def test_process_with_outdated_fields_accepts_what_the_new_fields_allow(
    store: SQLAlchemyProjectionStore, other_store: SQLAlchemyProjectionStore, tables: Tables
) -> None:
    live = new_collection()
    await store.ensure_collection(live, {"lines": int})
    await other_store.upsert(live, "old", {"lines": 1})
    await replace_live(store, tables, live, {"total": int, "lines": str})

    async with create_uow(other_store, tables) as uow:
        found = await other_store.find(live, AttributeSpecification("total", "=", 1), uow=uow)
        documents = await found
    await other_store.upsert(live, "new", {"lines": "two"})

    assert documents == [{"total": 1}]


async def test_readers_see_no_error_during_replacements_with_new_fields(
    store: SQLAlchemyProjectionStore, other_store: SQLAlchemyProjectionStore, tables: Tables
) -> None:
    live = new_collection()
    await store.ensure_collection(live, {"lines": int})
    await store.upsert_batch(live, {str(n): {"lines": 0} for n in range(5)})
    is_over = asyncio.Event()

    async def read() -> int:
        reads = 0
        while not is_over.is_set():
            async with create_uow(other_store, tables) as uow:
                page = await other_store.find(live, QueryOptions().with_ordering("lines"), uow=uow)
                found = await page
                one = await other_store.get(live, "0", uow=uow)
            assert len(found) >= 5
            assert len({doc["lines"] for doc in found}) == 1
            assert one is not None
            reads += 1
        return reads

    async def replace() -> None:
        new = f"{live}__rebuild"
        for version in range(1, 6):
            await store.ensure_collection(new, {"lines": int, f"since_{version}": str})
            docs = {str(n): {"lines": version} for n in range(5 + version)}
            await store.upsert_batch(new, docs)
            async with create_uow(store, tables) as uow:
                await store.replace_collection(live, new, uow=uow)
            await asyncio.sleep(0.05)

    readers = [asyncio.ensure_future(read()) for _ in range(3)]
    try:
        await replace()
    finally:
        is_over.set()
        reads = await asyncio.gather(*readers)

    assert min(reads) > 0


async def test_readers_with_prepared_statements_see_all_old_or_all_new_documents(
    store: SQLAlchemyProjectionStore, new_uow: NewUnitOfWork
) -> None:
    contract = ProjectionStoreContract()

    await contract.test_readers_see_all_old_or_all_new_documents_during_a_replacement(
        store, new_uow, QueryOptions
    )
    await contract.test_collection_can_be_replaced_repeatedly_and_need_not_exist_before(
        store, new_uow, AttributeSpecification
    )


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_ensure_collection_gives_up_if_its_own_transaction_blocks_it(
    store: SQLAlchemyProjectionStore, new_uow: NewUnitOfWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SQLAlchemyProjectionStore, "creation_timeout", 0.1)
    live, new = new_collection(), new_collection()
    await store.ensure_collection(new)

    async with new_uow() as uow:
        await store.replace_collection(live, new, uow=uow)
        with pytest.raises(ConcurrencyError, match="for longer than"):
            await store.ensure_collection(new_collection())

    await store.ensure_collection(live)


async def test_collection_dropped_by_another_process_is_missing(
    store: SQLAlchemyProjectionStore,
    other_store: SQLAlchemyProjectionStore,
    new_uow: NewUnitOfWork,
) -> None:
    collection = new_collection()
    await store.ensure_collection(collection)
    await other_store.upsert(collection, "one", {})
    async with new_uow() as uow:
        await store.drop_collection(collection, uow=uow)

    with pytest.raises(ProjectionStoreError, match="there is no collection"):
        await other_store.get(collection, "one")
    await store.ensure_collection(collection, {"lines": int})
    await other_store.ensure_collection(collection, {"lines": int})


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_replacement_gives_up_after_its_timeout_while_a_report_reads(
    store: SQLAlchemyProjectionStore,
    new_uow: NewUnitOfWork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SQLAlchemyProjectionStore, "lock_timeout", 0.1)
    live, new = new_collection(), new_collection()
    for each in (live, new):
        await store.ensure_collection(each)
    await store.upsert_batch(live, {str(n): {} for n in range(20)})

    async with new_uow() as report:
        stream = (await store.find(live, QueryOptions(), uow=report)).stream(batch_size=5)
        await stream.__anext__()
        with pytest.raises(ConcurrencyError, match="has held a lock for longer than 0.1 s"):
            async with new_uow() as uow:
                await store.replace_collection(live, new, uow=uow)
        with pytest.raises(ConcurrencyError, match="has held a lock for longer than 0.1 s"):
            async with new_uow() as uow:
                await store.drop_collection(live, uow=uow)
        assert len([doc async for doc in stream]) == 19
    async with new_uow() as uow:
        await store.replace_collection(live, new, uow=uow)
        timeout = await (await uow.connection()).scalar(text("SHOW lock_timeout"))

    assert timeout == "0"
    assert await store.get(live, "1") is None


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_writers_that_wait_for_a_replacement_write_to_the_new_table(
    store: SQLAlchemyProjectionStore, new_uow: NewUnitOfWork
) -> None:
    live, new = new_collection(), new_collection()
    await store.ensure_collection(live, {"lines": int})
    await store.upsert(live, "old", {"lines": 1})
    await store.ensure_collection(new, {"lines": int})

    async with new_uow() as uow:
        await store.replace_collection(live, new, uow=uow)
        # Stand for other requests, which do not join this unit of work.
        work = [store.upsert(live, str(n), {"lines": n}) for n in range(5)]
        writing = [Context().run(asyncio.ensure_future, each) for each in work]
        reading = Context().run(asyncio.ensure_future, store.get(live, "old"))
        await asyncio.sleep(0.1)
        assert not any(each.done() for each in writing)
    await asyncio.gather(*writing)

    assert await reading is None
    assert len(await (await store.find(live, QueryOptions()))) == 5


async def test_every_generation_of_a_collection_has_its_own_indexes(
    store: SQLAlchemyProjectionStore, engine: AsyncEngine, tables: Tables
) -> None:
    live = new_collection()
    fields = {"customer": str, "total": Decimal, "address": dict}
    await store.ensure_collection(live, fields)
    for _ in range(3):
        await store.ensure_collection(f"{live}__rebuild", fields)
        async with create_uow(store, tables) as uow:
            await store.replace_collection(live, f"{live}__rebuild", uow=uow)
    await store.ensure_collection(f"{live}__rebuild", fields)

    def inspect_table(connection: Any) -> tuple[set[str], list[set[Any]]]:
        inspector = inspect(connection)
        table = f"{tables.prefix}view_{live}"
        columns = {each["name"] for each in inspector.get_columns(table, tables.schema)}
        names = [
            {each["name"] for each in inspector.get_indexes(name, tables.schema)}
            for name in (table, f"{table}__rebuild")
        ]
        return columns, names

    async with engine.connect() as connection:
        columns, (live_indexes, other_indexes) = await connection.run_sync(inspect_table)
    assert {"doc_id", "doc", "customer", "total", "address"} < columns
    assert len(live_indexes) == len(other_indexes) == 2
    assert not live_indexes & other_indexes


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_searches_and_orders_use_an_index(
    store: SQLAlchemyProjectionStore, new_uow: NewUnitOfWork, tables: Tables
) -> None:
    collection = new_collection()
    await store.ensure_collection(collection, {"customer": str, "lines": int})
    await store.upsert_batch(
        collection, {str(n): {"customer": f"c{n}", "lines": n} for n in range(5000)}
    )
    criteria: list[Any] = [
        AttributeSpecification("customer", "=", "c7"),
        AttributeSpecification("lines", "between", [3, 5]),
        AttributeSpecification("doc_id", "in", ["3", "5"]),
        QueryOptions().with_ordering("doc_id").with_pagination(limit=5),
        QueryOptions().with_ordering("customer").with_pagination(limit=5),
    ]

    async with new_uow() as uow:
        connection = await uow.connection()
        await connection.execute(
            text(f'ANALYZE "{tables.schema}".{tables.prefix}view_{collection}')
        )
        table = await store._catalog.find_table(collection, connection)
        for each in criteria:
            query = str(
                table.select(each, "").compile(
                    dialect=connection.dialect, compile_kwargs={"literal_binds": True}
                )
            )
            plan = "\n".join((await connection.execute(text(f"EXPLAIN {query}"))).scalars())

            assert "Index" in plan, (each, plan)
            assert "Seq Scan" not in plan, (each, plan)


async def test_collection_tables_are_removed_with_the_advanced_tables(
    store: SQLAlchemyProjectionStore, engine: AsyncEngine, tables: Tables
) -> None:
    collection = new_collection()
    await store.ensure_collection(collection)
    await store.upsert(collection, "one", {})

    async with engine.begin() as connection:
        await connection.run_sync(schema.remove_advanced, tables)
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names(tables.schema))
    assert not [name for name in names if "view" in name]

    async with engine.begin() as connection:
        await connection.run_sync(schema.install_advanced, tables)
    await store.ensure_collection(collection, {"lines": int})
    assert await store.get(collection, "one") is None


def test_projection_store_rejects_a_table_prefix_that_is_too_long(
    session_factory: SessionFactory,
) -> None:
    with pytest.raises(ConfigError, match="too long for tables of collections"):
        SQLAlchemyProjectionStore(session_factory, tables=Tables("an_application_"))


async def test_projection_store_without_tables_names_create_schema(
    session_factory: SessionFactory,
) -> None:
    store = SQLAlchemyProjectionStore(session_factory, tables=Tables("no_"))

    with pytest.raises(ProjectionStoreError, match=r"create_schema\(engine\)"):
        await store.ensure_collection("orders")
    with pytest.raises(ProjectionStoreError, match=r"create_schema\(engine\)"):
        await store.upsert("orders", "one", {})


async def test_documents_share_the_transaction_of_a_session_of_the_caller(
    session_factory: SessionFactory, tables: Tables, store: SQLAlchemyProjectionStore
) -> None:
    collection = new_collection()
    async with session_factory() as session:
        uow = SQLAlchemyUnitOfWork(session, tables=tables)
        await uow.projections.ensure_collection(collection)
        async with uow:
            await uow.projections.upsert(collection, "one", {})
            found = await uow.projections.get(collection, "one")
            await uow.rollback()

    assert found == {}
    assert await store.get(collection, "one") is None
