"""Durable databases, the tables of one side of a row, and Redis servers."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from uuid import uuid4

import asyncpg
from pydantic_core import to_json
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from cqrs_ddd_core import StoredEvent
from cqrs_ddd_persistence_sqlalchemy import Tables, configure_sqlite, create_schema, schema
from tests.services import Postgres, Redis, running

PAYLOAD: dict[str, object] = {
    "order": "o-20394",
    "customer": "c-118",
    "lines": [{"sku": "K-7", "count": 3, "cents": 1999}, {"sku": "P-22", "count": 1, "cents": 499}],
    "currency": "EUR",
    "note": "please leave it with the neighbours " + "." * 15,
}
"""Payload of 200 bytes of JSON."""

_SIDES = count(1)


class DurablePostgres(Postgres):
    """PostgreSQL with its default settings: it replies to COMMIT after writing to the disk."""

    variable = "CQRS_DDD_BENCH_POSTGRES_URL"

    def command(self, room: Path, port: int) -> tuple[Sequence[str | Path], str]:
        arguments, given = super().command(room, port)
        changed = ("--jit=", "--fsync=", "--synchronous_commit=", "--full_page_writes=")
        return [word for word in arguments if not str(word).startswith(changed)], given


class Databases(ExitStack):
    """PostgreSQL and Redis servers, started at their first use, and a folder for SQLite files."""

    @cached_property
    def postgres(self) -> str:
        """URL of the PostgreSQL server, for a driver."""
        url = os.environ.get(DurablePostgres.variable)
        return self.enter_context(running(DurablePostgres(), url=url)).url

    @cached_property
    def redis(self) -> str:
        return self.redis_servers[0]

    @cached_property
    def redis_servers(self) -> list[str]:
        """URLs of three independent Redis servers; the first is also ``redis``."""
        url = os.environ.get("CQRS_DDD_BENCH_REDIS_URL")
        first = self.enter_context(running(Redis(), url=url)).url
        return [first, *(self.enter_context(running(Redis())).url for _ in range(2))]

    @cached_property
    def folder(self) -> Path:
        return Path(self.enter_context(tempfile.TemporaryDirectory()))

    def url(self, dialect: str) -> str:
        """Return a URL for SQLAlchemy: a new file of SQLite, or the same PostgreSQL server."""
        if dialect == "sqlite":
            return f"sqlite+aiosqlite:///{self.folder / f'{next(_SIDES)}.db'}"
        return "postgresql+asyncpg" + self.postgres[self.postgres.index("://") :]


@dataclass(frozen=True)
class Store:
    """Tables of one side, with access to their database."""

    engine: AsyncEngine
    tables: Tables

    @cached_property
    def sessions(self) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(self.engine, expire_on_commit=False)

    def open_sqlite(self) -> sqlite3.Connection:
        """Open a connection of the bare SQLite driver, on the same file and as durable."""
        connection = sqlite3.connect(str(self.engine.url.database), isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    async def connect(self) -> asyncpg.Connection:
        """Open a connection of the bare PostgreSQL driver, on the same server."""
        bare = self.engine.url.set(drivername="postgresql")
        return await asyncpg.connect(bare.render_as_string(hide_password=False))

    async def analyze(self) -> None:
        """Remove dead rows and renew the statistics, so that earlier work does not affect a row."""
        statement = "VACUUM ANALYZE" if self.engine.dialect.name == "postgresql" else "ANALYZE"
        autocommitting = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with autocommitting.connect() as connection:
            for table in self.tables.metadata.sorted_tables:
                await connection.exec_driver_sql(f"{statement} {table.name}")


@asynccontextmanager
async def install_tables(url: str, *, connections: int = 5) -> AsyncIterator[Store]:
    """Create tables with a new prefix, and drop them at the end of the block."""
    engine = create_async_engine(make_url(url), pool_size=connections)
    if engine.dialect.name == "sqlite":
        configure_sqlite(engine)
    store = Store(engine, Tables(prefix=f"bench_{next(_SIDES)}_"))
    try:
        await create_schema(engine, store.tables)
        try:
            yield store
        finally:
            async with engine.begin() as connection:
                await connection.run_sync(schema.remove, store.tables)
    finally:
        await engine.dispose()


@asynccontextmanager
async def install_bare_tables(url: str) -> AsyncIterator[Store]:
    """Create the same tables and indexes, without the trigger of the event table."""
    async with install_tables(url) as store:
        if store.engine.dialect.name == "postgresql":
            events = store.tables.events.name
            async with store.engine.begin() as connection:
                await connection.exec_driver_sql(
                    f"DROP TRIGGER {store.tables.prefix}register_append ON {events}"
                )
        yield store


class Stream:
    """Source of the events of one stream, in the order of their versions."""

    def __init__(self, name: str, version: int = 0) -> None:
        self.name = name
        self._version = version

    def events(self, number: int) -> list[StoredEvent]:
        made = [
            StoredEvent(
                event_id=str(uuid4()),
                event_type="OrderPlaced",
                aggregate_id=self.name,
                aggregate_type="Order",
                version=version,
                payload=PAYLOAD,
            )
            for version in range(self._version + 1, self._version + 1 + number)
        ]
        self._version += number
        return made


async def fill(store: Store, *, events: int, streams: int) -> None:
    """Insert events into ``stream-0``, ``stream-1`` and so on in turn."""
    is_postgres = store.engine.dialect.name == "postgresql"
    numbers, new_id, now = _POSTGRES_SQL if is_postgres else _SQLITE_SQL
    table, payload = store.tables.events.name, to_json(PAYLOAD).decode()
    async with store.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"INSERT INTO {table} (event_id, event_type, aggregate_id, aggregate_type, version, "
            "schema_version, payload, metadata, occurred_at) "
            f"{numbers.format(events)} "
            f"SELECT {new_id}, 'OrderPlaced', 'stream-' || (n % {streams}), 'Order', "
            f"n / {streams} + 1, 1, '{payload}', '{{}}', {now} FROM numbers"
        )
    await store.analyze()


_POSTGRES_SQL = (
    "WITH numbers AS (SELECT generate_series(0, {} - 1) AS n)",
    "gen_random_uuid()",
    "now()",
)
_SQLITE_SQL = (
    "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {})",
    "lower(hex(randomblob(16)))",
    "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')",
)
