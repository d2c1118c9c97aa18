"""Tests of creating, checking and removing the tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Column, MetaData, Numeric, Table, inspect, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.primitives.exceptions import ConfigError, PersistenceError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    ExactDecimal,
    SQLAlchemyEventStore,
    SQLAlchemyOutboxStorage,
    SQLAlchemyUnitOfWork,
    Tables,
    configure_sqlite,
    create_schema,
    metadata,
    schema,
)
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
)
from cqrs_ddd_persistence_sqlalchemy.schema.advanced_tables import AdvancedTables
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES
from tests.forking import context
from tests.persistence_sqlalchemy.conftest import asyncpg_url

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


@pytest.fixture
async def installed(postgres_engine: AsyncEngine) -> AsyncIterator[tuple[AsyncEngine, Tables]]:
    """Return tables on PostgreSQL that a test may damage."""
    tables = Tables(schema=f"damaged_{uuid4().hex}")
    await create_schema(postgres_engine, tables)
    yield postgres_engine, tables
    async with postgres_engine.begin() as connection:
        await connection.execute(text(f"DROP SCHEMA {tables.schema} CASCADE"))


@pytest.fixture
async def postgres_engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(asyncpg_url(postgres_url))
    yield engine
    await engine.dispose()


DAMAGES = {
    "cached sequence": (
        "ALTER SEQUENCE {schema}.cqrs_ddd_events_position_seq CACHE 20",
        r"position_seq assigns 20 positions at once .* run ALTER SEQUENCE .* CACHE 1",
    ),
    "copied events": (
        "INSERT INTO {schema}.cqrs_ddd_events (position, event_id, event_type, aggregate_id, "
        "aggregate_type, version, schema_version, payload, metadata, occurred_at) "
        "VALUES (7, 'e', 'Copied', 'a', 'A', 1, 1, '{{}}', '{{}}', now())",
        r"go up to position 7, beyond the last value 1 .* run SELECT setval\(.*, 7\)",
    ),
    "missing function": (
        "DROP FUNCTION {schema}.cqrs_ddd_safe_position()",
        "lacks the function cqrs_ddd_safe_position; run create_schema",
    ),
    "missing trigger": (
        "DROP TRIGGER cqrs_ddd_register_append ON {schema}.cqrs_ddd_events",
        "lacks the trigger cqrs_ddd_register_append",
    ),
    "disabled trigger": (
        "ALTER TABLE {schema}.cqrs_ddd_events DISABLE TRIGGER cqrs_ddd_register_append",
        "lacks the trigger cqrs_ddd_register_append, or it is disabled",
    ),
    "column without a sequence": (
        "ALTER SEQUENCE {schema}.cqrs_ddd_events_position_seq OWNED BY NONE",
        "no sequence belongs to cqrs_ddd_events.position",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_check_finds_damages_of_the_positions(
    installed: tuple[AsyncEngine, Tables], damage: str
) -> None:
    engine, tables = installed
    statement, found = DAMAGES[damage]
    await schema.check(engine, tables)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(statement.format(schema=tables.schema))

    with pytest.raises(ConfigError, match=found):
        await schema.check(engine, tables)


async def test_check_finds_a_default_isolation_in_which_all_streams_cannot_be_read(
    installed: tuple[AsyncEngine, Tables],
) -> None:
    engine, tables = installed
    settings = {"server_settings": {"default_transaction_isolation": "repeatable read"}}
    strict = create_async_engine(engine.url, connect_args=settings)
    try:
        with pytest.raises(ConfigError, match="default_transaction_isolation is repeatable read"):
            await schema.check(strict, tables)
    finally:
        await strict.dispose()
    # An isolation of the engine applies to its units of work only.
    strict = create_async_engine(engine.url, isolation_level="REPEATABLE READ")
    try:
        await schema.check(strict, tables)
        assert (
            await SQLAlchemyEventStore(async_sessionmaker(strict), tables=tables).get_events_after(
                0
            )
            == []
        )
    finally:
        await strict.dispose()


@pytest.fixture
async def engines_of_schemas(postgres_engine: AsyncEngine) -> AsyncIterator[list[AsyncEngine]]:
    """Engines of two schemas that are chosen by the search path; the tables have no schema."""
    names = [f"tenant_{uuid4().hex}" for _ in range(2)]
    engines = []
    for name in names:
        async with postgres_engine.begin() as connection:
            await connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        settings = {"server_settings": {"search_path": name}}
        engines.append(create_async_engine(postgres_engine.url, connect_args=settings))
        await create_schema(engines[-1])
    yield engines
    for name, engine in zip(names, engines, strict=True):
        await engine.dispose()
        async with postgres_engine.begin() as connection:
            await connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")


async def test_slow_writer_of_one_schema_does_not_hide_the_events_of_another(
    engines_of_schemas: list[AsyncEngine],
) -> None:
    slow, other = (async_sessionmaker(engine) for engine in engines_of_schemas)

    uow = SQLAlchemyUnitOfWork(session_factory=slow)  # Not entered, so that no call joins it.
    await uow.event_store.append(event(new_stream(), 1))
    for _ in range(3):
        await SQLAlchemyEventStore(other).append(event(new_stream(), 1))
    seen = await SQLAlchemyEventStore(other).get_events_after(0)
    await uow.commit()

    assert len(seen) == 3


async def test_projection_locked_in_one_schema_is_free_in_another(
    engines_of_schemas: list[AsyncEngine],
) -> None:
    first, second = (async_sessionmaker(engine) for engine in engines_of_schemas)
    uows = [SQLAlchemyUnitOfWork(session_factory=factory) for factory in (first, second)]
    stores = [SQLAlchemyPositionStore(factory) for factory in (first, second)]
    documents = [SQLAlchemyProjectionStore(factory) for factory in (first, second)]
    for each in documents:
        await each.ensure_collection("prices")
    try:
        for positions, each, uow in zip(stores, documents, uows, strict=True):
            await asyncio.wait_for(positions.lock_exclusive("prices", uow=uow), 20)
            await asyncio.wait_for(each.lock("prices", ["p-1"], uow=uow), 20)
    finally:
        for uow in uows:
            await uow.rollback()


ODD_NAMES = ("100%s $1_", "a$1 $$_", 'it\'s "so" ?_')


@pytest.mark.parametrize("prefix", ODD_NAMES)
async def test_tables_may_have_names_with_characters_of_sql(
    new_engine: Callable[..., AsyncEngine], backend: str, prefix: str
) -> None:
    engine = new_engine()
    tables = Tables(schema=f"{prefix}schema" if backend == "postgres" else None, prefix=prefix)
    sessions = async_sessionmaker(engine)
    try:
        await create_schema(engine, tables)
        await schema.check(engine, tables)
        async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=tables) as uow:
            stream = new_stream()
            await uow.event_store.append_batch([event(stream, 1), event(stream, 2)])
            await uow.event_store.append_to_stream(stream, [event(stream, 1)])
            await uow.outbox.save_messages(
                [OutboxMessage(message_id="m", event_type="Sent", payload={})], uow
            )
            await uow.inbox.register("consumer", "m", "fingerprint", uow)
        store = SQLAlchemyEventStore(sessions, tables=tables)
        assert len(await store.get_events_after(0)) == 3
        assert len(await store.get_events(stream.aggregate_id, limit=2)) == 2
        outbox = SQLAlchemyOutboxStorage(sessions, tables=tables)
        (lease,) = await outbox.claim("relay")
        await outbox.complete_batch([(lease, ["m"])])
        assert await outbox.get_pending() == []
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(schema.remove, tables)
        await engine.dispose()
