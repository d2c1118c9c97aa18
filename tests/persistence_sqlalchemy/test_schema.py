"""Making the tables, and telling whether they are there."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import inspect, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_core.primitives.exceptions import ConfigError, PersistenceError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
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

PROCESSES = 16

Make = Callable[[AsyncEngine, Tables], Coroutine[Any, Any, None]]

_context = multiprocessing.get_context("forkserver")


@pytest.fixture
async def bare(
    new_engine: Callable[..., AsyncEngine], backend: str
) -> AsyncIterator[tuple[AsyncEngine, Tables]]:
    """An engine, and tables that nobody has made."""
    engine = new_engine()
    tables = Tables(schema='a "quoted" Schema' if backend == "postgres" else None, prefix="My App_")
    yield engine, tables
    async with engine.begin() as connection:
        await connection.run_sync(schema.remove, tables)
    await engine.dispose()


async def test_it_is_made_once_and_checked(bare: tuple[AsyncEngine, Tables]) -> None:
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


async def test_a_lacking_column_is_found(bare: tuple[AsyncEngine, Tables]) -> None:
    engine, tables = bare
    await create_schema(engine, tables)
    table = tables.inbox
    quoted = engine.dialect.identifier_preparer.format_table(table)
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {quoted} DROP COLUMN outcome"))

    with pytest.raises(ConfigError, match="in My App_inbox the columns outcome"):
        await schema.check(engine, tables)


async def test_tables_of_another_version_are_left_alone(bare: tuple[AsyncEngine, Tables]) -> None:
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


async def test_the_advanced_tables_have_a_version_of_their_own(
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


async def test_the_advanced_tables_can_come_and_go_beside_the_others(
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


async def test_what_fails_half_way_leaves_nothing(bare: tuple[AsyncEngine, Tables]) -> None:
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
async def test_the_order_stays_as_it_was_made_unless_one_says_so(
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


async def test_two_sets_of_tables_in_one_database_keep_apart(
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
            # The slow writer holds back the readers of its own table, and no others.
            async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=others) as uow:
                await uow.event_store.append(event(new_stream(), 1))
            assert len(await stores[1].get_events_after(0)) == 1

    assert len(await stores[0].get_events_after(0)) == 1


def test_the_usual_names_follow_a_convention() -> None:
    names = {
        str(constraint.name)
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if constraint.name is not None
    }

    assert "pk_cqrs_ddd_events" in names
    assert "uq_cqrs_ddd_events_aggregate_id_aggregate_type_version" in names
    assert all(len(name) <= 63 for name in names)
    assert sorted(table.name for table in TABLES.core) == [
        "cqrs_ddd_events",
        "cqrs_ddd_inbox",
        "cqrs_ddd_outbox",
        "cqrs_ddd_outbox_leases",
        "cqrs_ddd_versions",
    ]
    assert set(metadata.tables.values()) == {*TABLES.core, *TABLES.advanced.all}


async def _lacking_a_lock(engine: AsyncEngine, tables: Tables) -> None:
    """Looks what is there, and makes the rest."""
    async with engine.begin() as connection:
        await connection.run_sync(tables.metadata.create_all)


async def test_any_number_of_processes_may_make_it_at_once(
    database_url: str, new_engine: Callable[..., AsyncEngine]
) -> None:
    engine, tables = new_engine(), Tables(prefix="race_")

    assert _raced(create_schema, database_url, tables) == ["made"] * PROCESSES
    await schema.check(engine, tables)

    async with engine.begin() as connection:
        await connection.run_sync(schema.remove, tables)
    await engine.dispose()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_without_a_lock_some_of_them_fail(
    database_url: str, new_engine: Callable[..., AsyncEngine]
) -> None:
    engine, told = new_engine(), ["made"]
    for number in range(5):
        tables = Tables(prefix=f"naive_{number}_")
        told = _raced(_lacking_a_lock, database_url, tables)
        async with engine.begin() as connection:
            await connection.run_sync(schema.remove, tables)
        if set(told) != {"made"}:
            break

    assert set(told) != {"made"}
    await engine.dispose()


def _raced(make: Make, url: str, tables: Tables) -> list[str]:
    """What each of the processes says when all have begun at the same moment."""
    _context.set_forkserver_preload([__name__])
    answers, start = _context.Queue(), _context.Barrier(PROCESSES)
    arguments = (make, url, tables.prefix, start, answers)
    processes = [_context.Process(target=_run, args=arguments) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    told = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
    return told


def _run(make: Make, url: str, prefix: str, start: Any, answers: Any) -> None:
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
        answers.put("made")
    except Exception as error:
        answers.put(repr(error))
