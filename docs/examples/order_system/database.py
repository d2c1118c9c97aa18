"""Engine of the database, and checks of its URL and tables."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_persistence_sqlalchemy import configure_sqlite, schema

from . import tables

_KINDS = (
    "it should be like sqlite+aiosqlite:///orders.db or "
    "postgresql+asyncpg://user:password@host/database"
)


def build_engine(database_url: str, *, busy_seconds: float, read_only: bool) -> AsyncEngine:
    """Return the engine; raise ``ConfigError`` for a URL of an unsupported database."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise ConfigError(f"DATABASE_URL is not a database URL: {_KINDS}") from None
    if url.drivername == "sqlite+aiosqlite":
        _ensure_path_exists(url, read_only=read_only)
        # The unit of work has committed or rolled back, so the pool need not roll back again.
        engine = create_async_engine(url, pool_reset_on_return=None)
        return configure_sqlite(engine, busy_timeout=busy_seconds)
    if url.drivername == "postgresql+asyncpg":
        return create_async_engine(url, connect_args={"timeout": 10})
    raise ConfigError(f"DATABASE_URL begins with {url.drivername}: {_KINDS}")


def _ensure_path_exists(url: URL, *, read_only: bool) -> None:
    if not url.database or "uri" in url.query:
        return
    path = Path(url.database)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for the database {path}")
    if read_only and not path.exists():
        raise ConfigError(f"there is no database {path}; import the file first")


async def prepare(engine: AsyncEngine, style: tables.Style, *, read_only: bool) -> None:
    """Check the tables, and create missing tables unless the database is read only."""
    try:
        await schema.check(engine)
    except ConfigError:
        if read_only:
            raise
    try:
        async with engine.begin() as connection:
            await connection.run_sync(tables.check if read_only else tables.install, style)
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"cannot use the database {engine.url!r}: {reason}") from error
