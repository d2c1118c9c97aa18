"""Tests of creating, checking and removing the tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Numeric, Table, inspect, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_core.primitives.exceptions import ConfigError, PersistenceError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    ExactDecimal,
    SQLAlchemyEventStore,
    SQLAlchemyUnitOfWork,
    Tables,
    configure_sqlite,
    create_schema,
    metadata,
    schema,
)
from cqrs_ddd_persistence_sqlalchemy.schema.advanced_tables import AdvancedTables
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES
from tests.forking import context

PROCESSES = 16

Make = Callable[[AsyncEngine, Tables], Coroutine[Any, Any, None]]


@pytest.fixture
async def bare(
    new_engine: Callable[..., AsyncEngine], backend: str
) -> AsyncIterator[tuple[AsyncEngine, Tables]]:
    """Return an engine and tables that do not exist yet."""
    engine = new_engine()
    tables = Tables(schema='a "quoted" Schema' if backend == "postgres" else None, prefix="My App_")
    yield engine, tables
    async with engine.begin() as connection:
        await connection.run_sync(schema.remove, tables)
    await engine.dispose()


async def test_schema_is_created_once_and_can_be_checked(bare: tuple[AsyncEngine, Tables]) -> None:
    engine, tables = bare
    with pytest.raises(ConfigError, match=r"lacks the tables .*My App_events.*create_schema"):
        await schema.check(engine, tables)

    await create_schema(engine, tables)
    await create_schema(engine, tables)

    await schema.check(engine, tables)
    store = SQLAlchemyEventStore(async_sessionmaker(engine), tables=tables)
    await store.append(event(new_stream(), 1))
    await create_schema(engine, tables)
    assert len(await store.get_events_after(0)) == 1


async def test_schema_check_finds_decimals_stored_with_another_scale(
    bare: tuple[AsyncEngine, Tables],
) -> None:
    engine, tables = bare

    def declare(scale: int) -> MetaData:
        own = MetaData()
        Table("fares", own, Column("fee", ExactDecimal(12, scale)), Column("tip", Numeric(9, 2)))
        return own

    await create_schema(engine, tables, metadata=[declare(2)])
    await schema.check(engine, tables, metadata=[declare(2)])
    with pytest.raises(ConfigError, match=r"in fares the scale 4 of fee \(found 2\)"):
        await schema.check(engine, tables, metadata=[declare(4)])
    async with engine.begin() as connection:
        await connection.run_sync(declare(2).drop_all)


async def test_schema_check_finds_a_missing_column(bare: tuple[AsyncEngine, Tables]) -> None:
    engine, tables = bare
    await create_schema(engine, tables)
    table = tables.inbox
    quoted = engine.dialect.identifier_preparer.format_table(table)
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {quoted} DROP COLUMN outcome"))

    with pytest.raises(ConfigError, match="in My App_inbox the columns outcome"):
        await schema.check(engine, tables)


async def test_create_schema_leaves_tables_with_another_schema_version_unchanged(
    bare: tuple[AsyncEngine, Tables],
) -> None:
    engine, tables = bare
    await create_schema(engine, tables)
    async with engine.begin() as connection:
        await connection.execute(update(tables.versions).values(version=7))

    with pytest.raises(ConfigError, match=r"version 1 of the tables .*persistence, found 7"):
        await schema.check(engine, tables)
    with pytest.raises(
        PersistenceError, match=r"\(persistence\) have version 7, this library requires 1"
    ):
        await create_schema(engine, tables)


async def test_advanced_tables_have_their_own_version(
    bare: tuple[AsyncEngine, Tables],
) -> None:
    engine, tables = bare
    await create_schema(engine, tables)
    theirs = tables.versions.c.component == AdvancedTables.COMPONENT
    async with engine.begin() as connection:
        await connection.execute(update(tables.versions).where(theirs).values(version=7))

    with pytest.raises(ConfigError, match=r"version 1 of the tables .*advanced, found 7"):
        await schema.check(engine, tables)
    with pytest.raises(PersistenceError, match=r"\(advanced\) have version 7"):
        await create_schema(engine, tables)


async def test_advanced_tables_can_be_installed_and_removed_separately(
    bare: tuple[AsyncEngine, Tables],
) -> None:
    engine, tables = bare
    async with engine.begin() as connection:
        await connection.run_sync(schema.install_core, tables)
    with pytest.raises(ConfigError, match="lacks the tables .*My App_snapshots"):
        await schema.check(engine, tables)

    async with engine.begin() as connection:
        await connection.run_sync(schema.install_advanced, tables)
    await schema.check(engine, tables)

    async with engine.begin() as connection:
        await connection.run_sync(schema.remove_advanced, tables)
    with pytest.raises(ConfigError, match="lacks the tables .*My App_snapshots"):
        await schema.check(engine, tables)


async def test_failed_schema_installation_leaves_no_tables(
    bare: tuple[AsyncEngine, Tables],
) -> None:
    engine, tables = bare

    def install(connection: object) -> None:
        schema.install(connection, tables)  # type: ignore[arg-type]
        raise LookupError

    with pytest.raises(LookupError):
        async with engine.begin() as connection:
            await connection.run_sync(install)

    async with engine.connect() as connection:
        names = await connection.run_sync(lambda c: inspect(c).get_table_names(tables.schema))
    assert not set(names) & {table.name for table in tables.metadata.sorted_tables}


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_create_schema_keeps_the_event_ordering_unless_it_is_given(
    bare: tuple[AsyncEngine, Tables],
) -> None:
    engine, tables = bare
    await create_schema(engine, tables, ordering="serialized")
    await create_schema(engine, tables)
    assert not await _has_shared_locks(engine)

    await create_schema(engine, tables, ordering="registered")
    assert await _has_shared_locks(engine)

    events = engine.dialect.identifier_preparer.format_table(tables.events)
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {events} DISABLE TRIGGER USER"))
    with pytest.raises(ConfigError, match="lacks the trigger My App_register_append"):
        await schema.check(engine, tables)


async def _has_shared_locks(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        source = await connection.scalar(
            text("SELECT prosrc FROM pg_proc WHERE proname = 'My App_register_append'")
        )
    return "pg_advisory_xact_lock_shared" in str(source)


async def test_two_sets_of_tables_in_one_database_are_independent(
    engine: AsyncEngine, bare: tuple[AsyncEngine, Tables], tables: Tables
) -> None:
    _, others = bare
    await create_schema(engine, others)
    sessions = async_sessionmaker(engine)
    stores = [SQLAlchemyEventStore(sessions, tables=each) for each in (tables, others)]

    async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=tables) as slow:
        await slow.event_store.append(event(new_stream(), 1))
        assert await stores[1].get_events_after(0) == []
        if engine.dialect.name == "postgresql":
            # The slow writer delays the readers of its own table only.
            async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=others) as uow:
                await uow.event_store.append(event(new_stream(), 1))
            assert len(await stores[1].get_events_after(0)) == 1

    assert len(await stores[0].get_events_after(0)) == 1


def test_default_table_and_constraint_names_follow_a_convention() -> None:
    names = {
        str(constraint.name)
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if constraint.name is not None
    }

    assert "pk_cqrs_ddd_events" in names
    assert "uq_cqrs_ddd_events_stream_version" in names
    assert all(len(name) <= 63 for name in names)
    assert sorted(table.name for table in TABLES.core) == [
        "cqrs_ddd_events",
        "cqrs_ddd_heartbeats",
        "cqrs_ddd_inbox",
        "cqrs_ddd_outbox",
        "cqrs_ddd_outbox_leases",
        "cqrs_ddd_versions",
    ]
    assert set(metadata.tables.values()) == {*TABLES.core, *TABLES.advanced.all}


async def _create_without_lock(engine: AsyncEngine, tables: Tables) -> None:
    """Create the missing tables without a lock."""
    async with engine.begin() as connection:
        await connection.run_sync(tables.metadata.create_all)


async def test_many_processes_can_create_the_schema_at_once(
    database_url: str, new_engine: Callable[..., AsyncEngine]
) -> None:
    engine, tables = new_engine(), Tables(prefix="race_")

    assert _create_concurrently(create_schema, database_url, tables) == ["created"] * PROCESSES
    await schema.check(engine, tables)

    async with engine.begin() as connection:
        await connection.run_sync(schema.remove, tables)
    await engine.dispose()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_concurrent_creation_check_catches_schema_creation_without_a_lock(
    database_url: str, new_engine: Callable[..., AsyncEngine]
) -> None:
    engine, outcomes = new_engine(), ["created"]
    for number in range(5):
        tables = Tables(prefix=f"naive_{number}_")
        outcomes = _create_concurrently(_create_without_lock, database_url, tables)
        async with engine.begin() as connection:
            await connection.run_sync(schema.remove, tables)
        if set(outcomes) != {"created"}:
            break

    assert set(outcomes) != {"created"}
    await engine.dispose()


def _create_concurrently(make: Make, url: str, tables: Tables) -> list[str]:
    """Create the tables in all processes at once and return the outcome of each process."""
    outcome_queue, start = context.Queue(), context.Barrier(PROCESSES)
    arguments = (make, url, tables.prefix, start, outcome_queue)
    processes = [context.Process(target=_run, args=arguments) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    outcomes = [outcome_queue.get(timeout=240) for _ in processes]
    for process in processes:
        process.join(10)
    return outcomes


def _run(make: Make, url: str, prefix: str, start: Any, outcome_queue: Any) -> None:
    async def run() -> None:
        engine = create_async_engine(url)
        if engine.dialect.name == "sqlite":
            configure_sqlite(engine)
        async with engine.connect():
            start.wait()
        await make(engine, Tables(prefix=prefix))
        await engine.dispose()

    try:
        asyncio.run(run())
        outcome_queue.put("created")
    except Exception as error:
        outcome_queue.put(repr(error))
