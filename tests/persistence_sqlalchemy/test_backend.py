"""Backend of an application on SQLite files, on SQLite in memory and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import AsyncAdaptedQueuePool

from cqrs_ddd_advanced_core.testing.contracts.backend_parts import BackendPartsContract
from cqrs_ddd_core import (
    ConfigError,
    IBackend,
    InvalidOperationError,
    IRepository,
    OutboxMessage,
    OutboxRelay,
    PersistenceError,
    StoredEvent,
)
from cqrs_ddd_core.adapters.memory import InMemoryMessageBus, InMemoryOutboxStorage
from cqrs_ddd_core.ports.event_store import EVENTS_CHANNEL
from cqrs_ddd_core.testing.contracts.backend import BackendContract, NewBackend
from cqrs_ddd_core.testing.contracts.parcel import Parcel, make_parcel
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_persistence_sqlalchemy import (
    ModelMapper,
    SQLAlchemyBackend,
    SQLAlchemyUnitOfWork,
    configure_sqlite,
    create_schema,
)
from cqrs_ddd_persistence_sqlalchemy.engine import engines
from cqrs_ddd_specifications import QueryOptions
from tests.databases import new_database
from tests.persistence_sqlalchemy.parcels import parcel_model as make_parcel_model

NewUrl = Callable[[], str]
MEMORY = "sqlite+aiosqlite://"
TWO_PARCELS = QueryOptions(ordering=("id",), limit=2)


@pytest.fixture(scope="module")
def postgres_databases(postgres_url: str) -> list[str]:
    return [new_database(postgres_url), new_database(postgres_url)]


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """Function that returns the URL of an empty database, twice on PostgreSQL."""
    if database == "memory":
        return lambda: MEMORY
    if database == "sqlite":
        numbers = count(1)
        return lambda: f"sqlite+aiosqlite:///{tmp_path}/{next(numbers)}.db"
    urls: Iterator[str] = iter(request.getfixturevalue("postgres_databases"))
    for url in request.getfixturevalue("postgres_databases"):
        asyncio.run(_drop_tables(url))
    return lambda: next(urls)


async def _drop_tables(url: str) -> None:
    await _query(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


async def _query(url: str, *statements: str) -> Any:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return [await connection.fetch(statement) for statement in statements][-1]
    finally:
        await connection.close()


@pytest.fixture
def new_backend(new_url: NewUrl) -> NewBackend:
    return lambda: SQLAlchemyBackend(new_url())


@pytest.fixture
async def backend(new_url: NewUrl, parcel_model: Any) -> AsyncIterator[SQLAlchemyBackend]:
    backend = SQLAlchemyBackend(new_url(), create_schema=True)
    backend.repository(Parcel, parcel_model)
    async with backend:
        yield backend
        for engine in (backend.engine, backend.background.engine):
            assert _get_pool(engine).checkedout() == 0, "a connection was not returned"


@pytest.fixture
def parcel_model() -> Any:
    return make_parcel_model(None)


class TestSQLAlchemyBackend(BackendContract, BackendPartsContract):
    pass


def _get_pool(engine: AsyncEngine) -> AsyncAdaptedQueuePool:
    assert isinstance(engine.pool, AsyncAdaptedQueuePool)
    return engine.pool


@pytest.mark.parametrize(
    ("url", "size", "background_size"),
    [
        ("postgresql+asyncpg://user:secret@nowhere/shop", 20, 5),
        ("sqlite+aiosqlite:///shop.db", 20, 5),
        (MEMORY, 1, 1),
        ("sqlite+aiosqlite:///:memory:", 1, 1),
        ("sqlite+aiosqlite:///file:shop?mode=memory&cache=shared&uri=true", 1, 1),
    ],
)
def test_engines_of_a_url_have_the_recommended_settings(
    url: str, size: int, background_size: int
) -> None:
    backend = SQLAlchemyBackend(url)
    background = backend.background
    assert isinstance(background, SQLAlchemyBackend)

    assert _get_pool(backend.engine).size() == size
    assert _get_pool(background.engine).size() == background_size
    for engine in (backend.engine, background.engine):
        assert _get_pool(engine)._max_overflow == 0
        assert _get_pool(engine).timeout() == 5.0
        assert engine.sync_engine.hide_parameters
    assert (background is backend) == (size == 1)
    assert (backend.signal is None) == (engine.dialect.name == "sqlite")


SECRET = "pa55word"


@pytest.mark.parametrize(
    ("database", "advice"),
    [
        (f"postgresql://user:{SECRET}@host/shop", "begin the URL with postgresql+asyncpg://"),
        (f"postgres://user:{SECRET}@host/shop", "begin the URL with postgresql+asyncpg://"),
        (f"postgresql+psycopg2://user:{SECRET}@host/shop", "begin the URL with postgresql+asyncpg"),
        ("sqlite:///shop.db", "begin the URL with sqlite+aiosqlite://"),
        (sa.make_url("sqlite:///shop.db"), "begin the URL with sqlite+aiosqlite://"),
        (f"mysql+aiomysql://user:{SECRET}@host/shop", "not supported; write postgresql+asyncpg://"),
        (f"postgresql+asyncpg://user:{SECRET}@host:{SECRET}/shop", "malformed; write"),
        (f"host/shop {SECRET}", "malformed; write postgresql+asyncpg://user:password@"),
        ("", "malformed; write"),
        (sa.create_engine("sqlite://"), "create the engine by create_async_engine"),
        (async_sessionmaker(), "pass the engine of the sessions"),
        (AsyncSession(), "pass the engine of the sessions"),
        (sessionmaker(), "pass the engine of the sessions"),
        (None, "the URL of a database or an AsyncEngine"),
        (create_async_engine("sqlite+aiosqlite:///shop.db"), "configure_sqlite(engine)"),
        (create_async_engine(MEMORY), "configure_sqlite(engine)"),
    ],
)
def test_unusable_database_is_rejected_with_the_next_step_and_without_its_password(
    database: Any, advice: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        SQLAlchemyBackend(database)

    assert advice in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(("parameter", "expected"), [("", 30_000), ("?timeout=0.25", 250)])
async def test_timeout_in_the_url_is_the_wait_for_another_writer(
    tmp_path: Path, parameter: str, expected: int
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/test.db{parameter}"

    async with SQLAlchemyBackend(url, create_schema=True) as backend:
        for engine in (backend.engine, backend.background.engine):
            async with engine.connect() as connection:
                found = await connection.exec_driver_sql("PRAGMA busy_timeout")
                assert found.scalar_one() == expected


@pytest.mark.parametrize("timeout", ["soon", "-1", "nan", "inf", "1&timeout=2"])
def test_unusable_timeout_in_the_url_is_rejected(timeout: str) -> None:
    with pytest.raises(ConfigError, match="write the seconds to wait for another writer"):
        SQLAlchemyBackend(f"sqlite+aiosqlite:///test.db?timeout={timeout}")


async def test_subclass_of_the_backend_may_have_another_constructor(tmp_path: Path) -> None:
    class FileBackend(SQLAlchemyBackend):
        def __init__(self, folder: Path, *, name: str) -> None:
            super().__init__(f"sqlite+aiosqlite:///{folder}/{name}.db", create_schema=True)

    async with FileBackend(tmp_path, name="shop") as backend:
        assert await backend.background.outbox.get_pending() == []


def test_url_with_an_engine_for_the_background_is_rejected() -> None:
    engine = configure_sqlite(create_async_engine("sqlite+aiosqlite:///shop.db"))

    with pytest.raises(ConfigError, match="pass both engines"):
        SQLAlchemyBackend("sqlite+aiosqlite:///shop.db", background=engine)


def test_missing_driver_is_reported_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)

    with pytest.raises(ConfigError) as caught:
        SQLAlchemyBackend("postgresql+asyncpg://user@host/shop")

    assert 'pip install "cqrs-ddd-persistence-sqlalchemy[postgres]"' in str(caught.value)


def test_repository_without_a_model_is_rejected_with_the_next_step() -> None:
    backend = SQLAlchemyBackend(MEMORY)

    for model in (None, "parcels", make_parcel()):
        with pytest.raises(ConfigError, match=r"repository\(Parcel, ParcelModel\)"):
            backend.repository(Parcel, model)


async def test_repository_accepts_a_mapper(new_url: NewUrl, parcel_model: Any) -> None:
    async with SQLAlchemyBackend(new_url(), create_schema=True) as backend:
        parcels = backend.repository(Parcel, ModelMapper(Parcel, parcel_model))
        await backend.create_schema()
        parcel = make_parcel()

        await parcels.add(parcel)

        assert await parcels.get(parcel.id) is not None


def test_port_without_an_adapter_is_rejected_with_the_next_step() -> None:
    backend = SQLAlchemyBackend(MEMORY)

    with pytest.raises(ConfigError) as caught:
        backend.part(InMemoryOutboxStorage, InMemoryOutboxStorage)

    known = "IDeadLetterStore, IHeartbeatStore, IPositionStore, IProjectionStore, ISnapshotStore"
    assert known in str(caught.value)
    assert "pass an adapter of your own" in str(caught.value)


@pytest.mark.parametrize("database", ["postgres", "sqlite"], indirect=True)
async def test_missing_table_of_a_model_is_named_and_created_with_create_schema(
    new_url: NewUrl, parcel_model: Any
) -> None:
    url = new_url()
    async with SQLAlchemyBackend(url, create_schema=True):
        pass

    strict = SQLAlchemyBackend(url)
    strict.repository(Parcel, parcel_model)
    with pytest.raises(ConfigError, match="the tables parcels; run create_schema"):
        await strict.open()
    assert _get_pool(strict.engine).checkedin() == 0, "a failed open has left a connection"

    generous = SQLAlchemyBackend(url, create_schema=True)
    parcels = generous.repository(Parcel, parcel_model)
    parcel = make_parcel()
    async with generous:
        await parcels.add(parcel)
    async with strict:
        assert await strict.repository(Parcel, parcel_model).get(parcel.id) is not None


async def test_engine_of_the_caller_is_not_disposed_of(tmp_path: Path) -> None:
    engine = configure_sqlite(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/test.db"))
    async with SQLAlchemyBackend(engine, create_schema=True) as backend:
        assert backend.background is backend

    assert _get_pool(engine).checkedin() > 0
    await engine.dispose()


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_closed_backend_leaves_no_connection_on_the_server(new_url: NewUrl) -> None:
    url = new_url()
    connections = (
        "SELECT pid FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with SQLAlchemyBackend(url, create_schema=True) as backend:
        async with backend.unit_of_work() as uow, backend.background.unit_of_work() as other:
            await uow.event_store.get_events("any")
            await other.outbox.get_pending(uow=other)
        assert len(await _query(url, connections)) == 4, "two pools and two listeners"

    # The server removes a closed connection a moment later.
    remaining = await _query(url, connections)
    for _ in range(500):
        if remaining:
            await asyncio.sleep(0.01)
            remaining = await _query(url, connections)
    assert remaining == []


async def _exhaust(engine: AsyncEngine, stack: AsyncExitStack) -> None:
    """Take all connections of the pool until the stack is closed."""
    for _ in range(_get_pool(engine).size()):
        await stack.enter_async_context(engine.connect())


async def _work_in_background(backend: SQLAlchemyBackend, parcel_model: Any) -> None:
    """Publish a message, and store a parcel through a repository of the application."""
    parcels: IRepository[Parcel, str] = backend.repository(Parcel, parcel_model)
    background: IBackend = backend.background
    parcel = make_parcel()
    async with background.unit_of_work() as uow:
        await parcels.add(parcel, uow)
        await background.outbox.save_messages([OutboxMessage(parcel.id, "ParcelRegistered", {})])
    assert await OutboxRelay(background.outbox, InMemoryMessageBus()).run_once() == 1


@pytest.mark.parametrize("database", ["postgres", "sqlite"], indirect=True)
async def test_exhausted_pool_of_the_application_does_not_stop_background_work(
    backend: SQLAlchemyBackend, parcel_model: Any
) -> None:
    async with AsyncExitStack() as stack:
        await _exhaust(backend.engine, stack)
        if backend.background.signal is not None:
            waiting = asyncio.ensure_future(backend.background.signal.wait(EVENTS_CHANNEL, 30))
            pending = {waiting}
            while pending:
                await backend.background.signal.notify(EVENTS_CHANNEL)
                _, pending = await asyncio.wait(pending, timeout=0.1)
            assert waiting.result()

        await _work_in_background(backend, parcel_model)


@pytest.mark.parametrize("database", ["postgres", "sqlite"], indirect=True)
async def test_engine_for_the_background_works_while_the_other_pool_is_exhausted(
    new_url: NewUrl, parcel_model: Any
) -> None:
    def new_engine() -> AsyncEngine:
        engine = create_async_engine(
            url,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=2,
            max_overflow=0,
            pool_timeout=0.1,
        )
        return configure_sqlite(engine) if engine.dialect.name == "sqlite" else engine

    url, own = new_url(), AsyncExitStack()
    first, second = new_engine(), new_engine()
    shared = SQLAlchemyBackend(first)
    separate = SQLAlchemyBackend(first, background=second)
    shared.repository(Parcel, parcel_model)
    await shared.create_schema()

    async with own:
        await _exhaust(first, own)
        with pytest.raises(PersistenceError, match="all connections of the pool are in use"):
            await _work_in_background(shared, parcel_model)
        await _work_in_background(separate, parcel_model)

    await first.dispose()
    await second.dispose()


async def test_unit_of_work_on_another_database_is_rejected(
    new_url: NewUrl, parcel_model: Any
) -> None:
    one, two = SQLAlchemyBackend(new_url()), SQLAlchemyBackend(new_url())

    with pytest.raises(InvalidOperationError, match="pass a unit of work on the same engine"):
        async with one.unit_of_work() as uow:
            await two.repository(Parcel, parcel_model).add(make_parcel(), uow)


@pytest.mark.parametrize("database", ["memory"], indirect=True)
async def test_cancelled_statement_does_not_delete_a_database_in_memory(
    backend: SQLAlchemyBackend, parcel_model: Any
) -> None:
    parcels: IRepository[Parcel, str] = backend.repository(Parcel, parcel_model)
    kept = make_parcel()
    await parcels.add(kept)

    async def work_in_a_session() -> None:
        async with backend.unit_of_work() as uow:
            await uow.session.execute(sa.text("SELECT count(*) FROM parcels"))
            await parcels.add(make_parcel(), uow)
            await uow.outbox.get_pending(uow=uow)

    async def work_without_a_session() -> None:
        async with backend.unit_of_work() as uow:
            await parcels.add(make_parcel(), uow)
            await backend.event_store.get_events_after(0)
        await backend.outbox.claim("relay")
        async for parcel in (await parcels.search(TWO_PARCELS)).stream(batch_size=1):
            assert parcel.owner
        await parcels.list_all()

    async def check() -> None:
        assert await parcels.get(kept.id) is not None
        await parcels.add(make_parcel())

    assert await cancel_sweep(work_in_a_session, check) > 0
    assert await cancel_sweep(work_without_a_session, check) > 0


async def test_database_in_memory_is_deleted_where_sqlalchemy_replaces_its_connection(
    monkeypatch: pytest.MonkeyPatch, parcel_model: Any
) -> None:
    monkeypatch.setattr(engines, "keep_connection", lambda engine: engine)
    backend = SQLAlchemyBackend(MEMORY, create_schema=True)
    backend.repository(Parcel, parcel_model)

    async with backend:
        with pytest.raises(PersistenceError, match="no such table"):
            await test_cancelled_statement_does_not_delete_a_database_in_memory(
                backend, parcel_model
            )


@pytest.mark.parametrize("database", ["memory"], indirect=True)
async def test_units_of_work_of_tasks_share_the_connection_of_a_database_in_memory(
    backend: SQLAlchemyBackend, parcel_model: Any
) -> None:
    parcels: IRepository[Parcel, str] = backend.repository(Parcel, parcel_model)
    stored = [make_parcel() for _ in range(30)]
    relay = OutboxRelay(backend.background.outbox, InMemoryMessageBus(), poll_interval=0.01)

    async def store(parcel: Parcel) -> None:
        async with backend.unit_of_work() as uow:
            await parcels.add(parcel, uow)
            await uow.outbox.save_messages([OutboxMessage(parcel.id, "ParcelRegistered", {})], uow)
            await uow.event_store.append(
                StoredEvent(
                    event_id=parcel.id,
                    event_type="ParcelRegistered",
                    aggregate_id=parcel.id,
                    aggregate_type="Parcel",
                    version=1,
                    payload={},
                )
            )

    async with relay:
        await asyncio.gather(*map(store, stored))
        assert await backend.event_store.wait_for(len(stored), timeout=30)

    await relay.drain()
    assert await backend.outbox.get_pending() == []

    assert len(await parcels.list_all()) == len(stored)


async def test_nested_unit_of_work_on_a_database_in_memory_fails_instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch, parcel_model: Any
) -> None:
    monkeypatch.setattr(engines, "POOL_TIMEOUT", 0.1)
    backend = SQLAlchemyBackend(MEMORY, create_schema=True)
    parcels: IRepository[Parcel, str] = backend.repository(Parcel, parcel_model)

    async with backend:
        async with backend.unit_of_work() as outer:
            await parcels.add(make_parcel(), outer)
            with pytest.raises(PersistenceError, match="end units of work earlier"):
                async with backend.unit_of_work() as inner:
                    await parcels.add(make_parcel(), inner)

        assert len(await parcels.list_all()) == 1


async def test_existing_wiring_and_a_backend_on_the_same_engine_see_the_same_data(
    tmp_path: Path, parcel_model: Any
) -> None:
    engine = configure_sqlite(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/test.db"))
    await create_schema(engine, metadata=[parcel_model.metadata])
    sessions = async_sessionmaker(engine)

    async with SQLAlchemyBackend(engine) as backend:
        parcels: IRepository[Parcel, str] = backend.repository(Parcel, parcel_model)
        parcel = make_parcel()
        async with SQLAlchemyUnitOfWork(session_factory=sessions) as uow:
            await parcels.add(parcel, uow)

        assert await parcels.get(parcel.id) is not None
    await engine.dispose()
