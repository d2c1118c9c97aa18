"""Creation of engines, engines of session factories, and checks that the toolkit supports them."""

from __future__ import annotations

import asyncio
import math
import os
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, ref

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.primitives.exceptions import ConfigError, InvalidOperationError

from .driver import is_postgres
from .sqlite import configure_sqlite, is_configured, is_in_memory, keep_connection

POOL_SIZE = 20
"""Connections for the commands and queries of an application."""
BACKGROUND_POOL_SIZE = 5
"""Connections for relays and workers."""
POOL_TIMEOUT = 5.0
"""Seconds to wait for a connection of the pool."""
BUSY_TIMEOUT = 30.0
"""Seconds to wait for another writer on SQLite, unless the URL has a ``timeout``."""
CONNECT_TIMEOUT = 10.0
"""Seconds that PostgreSQL may take to accept a connection."""

_SCHEMES = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}
"""Supported scheme of a URL for each database."""
_EXAMPLES = "write postgresql+asyncpg://user:password@host/database, or sqlite+aiosqlite:///file.db"

SessionFactory = async_sessionmaker[AsyncSession]
"""Type of the session factory of an application: ``async_sessionmaker(engine)``."""


class _Owner(NamedTuple):
    """Process and event loop that opened the connections of a pool."""

    process_id: int
    loop: ref[asyncio.AbstractEventLoop]


_checked: WeakSet[AsyncEngine] = WeakSet()
_owners: WeakKeyDictionary[sa.Pool, _Owner] = WeakKeyDictionary()
_databases: WeakKeyDictionary[AsyncEngine, object] = WeakKeyDictionary()


def resolve_engines(
    database: str | sa.URL | AsyncEngine, background: AsyncEngine | None
) -> tuple[AsyncEngine, AsyncEngine]:
    """Return the engine of an application, and the engine of its background services.

    Adapters on one of them join transactions on the other.

    Args:
        database: URL of new engines, or an engine of the caller.
        background: second engine of the caller on the same database; by default the first one.

    Raises:
        ConfigError: the URL is malformed, its driver is not supported or not installed, or one
            of the engines is not usable.
    """
    if isinstance(database, (str, sa.URL)):
        if background is not None:
            raise ConfigError("background= is for a backend on your engine; pass both engines")
        engines = _create_engines(_parse_url(database))
    else:
        engines = _ensure_engine(database), _ensure_engine(background or database)
    known = _databases.get(engines[0], object())
    for engine in engines:
        _ensure_supported(engine)
        _databases[engine] = known
    return engines


def is_same_database(first: AsyncEngine, second: AsyncEngine) -> bool:
    """Return whether transactions on one engine may be joined by adapters on the other."""
    if first is second:
        return True
    database = _databases.get(first)
    return database is not None and database is _databases.get(second)


def find_engine(session_factory: SessionFactory) -> AsyncEngine | None:
    """Return the engine of the sessions, or None if they have a connection or several engines."""
    bind = session_factory.kw.get("bind")
    return bind if isinstance(bind, AsyncEngine) else None


def ensure_session(session: object) -> None:
    """Raise ``ConfigError`` for a ``session`` argument of another type."""
    if isinstance(session, AsyncSession):
        return
    advice = "pass an AsyncSession"
    if isinstance(session, async_sessionmaker):
        advice = "pass it as session_factory="
    elif isinstance(session, AsyncEngine):
        advice = "pass session_factory=async_sessionmaker(engine)"
    raise ConfigError(f"session= is {_describe(session)}, not an AsyncSession; {advice}")


def ensure_session_factory(session_factory: object) -> None:
    """Raise ``ConfigError`` for a ``session_factory`` argument of another type."""
    if isinstance(session_factory, async_sessionmaker):
        return
    advice = "pass async_sessionmaker(engine)"
    if isinstance(session_factory, AsyncSession):
        advice = "pass the factory that has created the session, or uow= for its transaction"
    raise ConfigError(
        f"session_factory= is {_describe(session_factory)}, not an async_sessionmaker; {advice}"
    )


def get_bind(session: AsyncSession) -> AsyncEngine | AsyncConnection | None:
    """Return the engine or connection of the session, or None if it has none for all tables."""
    # In SQLAlchemy 2.0 a session without a bind lacks the attribute.
    return getattr(session, "bind", None)


def ensure_usable(engine: AsyncEngine) -> None:
    """Ensure that the toolkit can keep its guarantees on the engine, before it is used.

    Raises:
        ConfigError: the driver or the settings of the engine are not supported.
        InvalidOperationError: the engine has connections of another process or event loop.
    """
    _ensure_supported(engine)
    with suppress(RuntimeError):  # Raised outside of an event loop, where no connection is used.
        _ensure_own_connections(engine.sync_engine.pool, asyncio.get_running_loop())


def _ensure_own_connections(pool: sa.Pool, loop: asyncio.AbstractEventLoop) -> None:
    """Raise ``InvalidOperationError`` for a pool of another process or event loop."""
    owner = _owners.get(pool)
    if owner is None:
        if not isinstance(pool, sa.NullPool):
            _owners[pool] = _Owner(os.getpid(), ref(loop))
        return
    if owner.process_id != os.getpid():
        raise InvalidOperationError(
            f"the engine has connections of process {owner.process_id}, which this process was "
            "forked from; create the engine after the fork, or await engine.dispose(close=False) "
            "first in the new process"
        )
    if owner.loop() is not loop:
        raise InvalidOperationError(
            "the engine has connections of another event loop, in which they cannot be used any "
            "more; create an engine for each event loop, or await engine.dispose() at the end of "
            "the first one"
        )


def _ensure_supported(engine: AsyncEngine) -> None:
    if engine in _checked:
        return
    exceptions.arguments.ensure_instance(
        engine, AsyncEngine, "engine", example="create_async_engine(url)"
    )
    if engine.dialect.driver not in ("asyncpg", "aiosqlite"):
        raise ConfigError(
            f"{engine.dialect.name}+{engine.dialect.driver} is not supported; use "
            "postgresql+asyncpg or sqlite+aiosqlite"
        )
    if "schema_translate_map" in engine.sync_engine.get_execution_options():
        raise ConfigError(
            "an engine with a schema_translate_map is not supported; use Tables(schema=...)"
        )
    if not is_postgres(engine) and not is_configured(engine):
        raise ConfigError("call configure_sqlite(engine) before the first connection of the engine")
    _checked.add(engine)


def _create_engines(url: sa.URL) -> tuple[AsyncEngine, AsyncEngine]:
    """Create both engines; for a database in memory they are one engine with one connection."""
    if is_in_memory(url):
        only = keep_connection(_create_engine(sa.make_url("sqlite+aiosqlite://"), pool_size=1))
        return only, only
    return _create_engine(url, POOL_SIZE), _create_engine(url, BACKGROUND_POOL_SIZE)


def _parse_url(url: str | sa.URL) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # The messages of these errors may contain the password.
        raise ConfigError(f"the database URL is malformed; {_EXAMPLES}") from None
    scheme = _SCHEMES.get(parsed.drivername.partition("+")[0])
    if scheme is None:
        raise ConfigError(f"{parsed.drivername}:// is not supported; {_EXAMPLES}")
    if parsed.drivername != scheme:
        raise ConfigError(
            f"{parsed.drivername}:// names no supported async driver; begin the URL with {scheme}://"
        )
    return parsed


def _create_engine(url: sa.URL, pool_size: int) -> AsyncEngine:
    settings: dict[str, Any] = {
        "poolclass": sa.pool.AsyncAdaptedQueuePool,
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": POOL_TIMEOUT,
        "hide_parameters": True,
    }
    if url.get_backend_name() == "sqlite":
        busy_timeout = _get_busy_timeout(url)
        # The unit of work has ended its transaction, so the pool need not roll back again.
        engine = sqlalchemy_asyncio.create_async_engine(url, pool_reset_on_return=None, **settings)
        return configure_sqlite(engine, busy_timeout=busy_timeout)
    try:
        return sqlalchemy_asyncio.create_async_engine(
            url, connect_args={"timeout": CONNECT_TIMEOUT}, **settings
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{url.drivername}:// needs the package {error.name}; "
            'run pip install "cqrs-ddd-persistence-sqlalchemy[postgres]"'
        ) from error


def _get_busy_timeout(url: sa.URL) -> float:
    """Return the parameter of the driver, which would not reach ``configure_sqlite`` otherwise."""
    timeout = url.query.get("timeout", str(BUSY_TIMEOUT))
    try:
        seconds = float(timeout) if isinstance(timeout, str) else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(
            f"the database URL has timeout={timeout!r}; write the seconds to wait for another "
            "writer, as in sqlite+aiosqlite:///file.db?timeout=5"
        )
    return seconds


def _ensure_engine(database: object) -> AsyncEngine:
    if isinstance(database, AsyncEngine):
        return database
    advice = "create the engine by create_async_engine"
    if isinstance(database, (AsyncSession, Session, async_sessionmaker, sessionmaker)):
        advice = "pass the engine of the sessions, or its URL"
    raise ConfigError(
        f"a backend takes the URL of a database or an AsyncEngine, not {_describe(database)}; "
        f"{advice}"
    )


def _describe(value: object) -> str:
    return repr(value) if isinstance(value, type) else f"an object of {type(value)!r}"
