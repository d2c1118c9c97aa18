"""Databases for the adapter tests: a SQLite file or a PostgreSQL schema for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import AsyncAdaptedQueuePool

from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyUnitOfWork,
    Tables,
    configure_sqlite,
)
from tests.persistence_sqlalchemy.parcels import Parcels
from tests.persistence_sqlalchemy.table_cache import make_tables

SessionFactory = async_sessionmaker[AsyncSession]
NewUnitOfWork = Callable[[], SQLAlchemyUnitOfWork]
BACKENDS = ("sqlite", "postgres")

_schemas = count(1)


def asyncpg_url(url: str) -> str:
    return "postgresql+asyncpg" + url[url.index("://") :]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if backend == "postgres":
        return asyncpg_url(request.getfixturevalue("postgres_url"))
    return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def new_engine(database_url: str) -> Callable[..., AsyncEngine]:
    def make(**options: object) -> AsyncEngine:
        engine = create_async_engine(database_url, **options)
        return configure_sqlite(engine) if engine.dialect.name == "sqlite" else engine

    return make


@pytest.fixture
async def engine(new_engine: Callable[..., AsyncEngine]) -> AsyncIterator[AsyncEngine]:
    """Engine with a pool, which fails the test if a connection is not released at its end."""
    async for engine in _create_pooled_engine(new_engine):
        yield engine


@pytest.fixture
async def forgetful_engine(
    new_engine: Callable[..., AsyncEngine], backend: str
) -> AsyncIterator[AsyncEngine]:
    """Engine without statement caches, so that repeated work suspends equally often each time."""
    caches = ("prepared_statement_cache_size", "statement_cache_size")
    options = dict.fromkeys(caches, 0) if backend == "postgres" else {}
    async for engine in _create_pooled_engine(new_engine, connect_args=options):
        yield engine


async def _create_pooled_engine(
    new_engine: Callable[..., AsyncEngine], **options: object
) -> AsyncIterator[AsyncEngine]:
    engine = new_engine(pool_size=10, max_overflow=20, poolclass=AsyncAdaptedQueuePool, **options)
    yield engine
    pool = engine.pool
    assert isinstance(pool, AsyncAdaptedQueuePool)
    try:
        assert pool.checkedout() == 0, "a connection was not returned to the pool"
    finally:
        # Otherwise other connections cause a warning in the test that runs when they are collected.
        await engine.dispose()


@pytest.fixture
async def tables(engine: AsyncEngine, backend: str) -> AsyncIterator[Tables]:
    """Tables that only this test uses."""
    tables = Tables(schema=f"test {next(_schemas)}" if backend == "postgres" else None)
    await make_tables(engine, tables)
    yield tables
    if tables.schema is not None:
        async with engine.begin() as connection:
            await connection.execute(text(f'DROP SCHEMA "{tables.schema}" CASCADE'))


@pytest.fixture
def session_factory(engine: AsyncEngine) -> SessionFactory:
    return async_sessionmaker(engine, expire_on_commit=False)


@pytest.fixture
def new_uow(session_factory: SessionFactory, tables: Tables) -> NewUnitOfWork:
    return lambda: SQLAlchemyUnitOfWork(session_factory=session_factory, tables=tables)


@pytest.fixture
def new_read_only_uow(session_factory: SessionFactory, tables: Tables) -> NewUnitOfWork:
    return lambda: SQLAlchemyUnitOfWork(
        session_factory=session_factory, tables=tables, read_only=True
    )


@pytest.fixture
async def parcels(engine: AsyncEngine, session_factory: SessionFactory, tables: Tables) -> Parcels:
    repository = Parcels(session_factory, tables.schema)
    async with engine.begin() as connection:
        await connection.run_sync(repository.metadata.create_all)
    return repository


@pytest.fixture
def statements(engine: AsyncEngine) -> list[str]:
    """Return a list that grows by each statement sent to the database."""
    sent: list[str] = []
    listen(engine.sync_engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    return sent
