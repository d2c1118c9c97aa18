"""Configuration of SQLite engines for a file shared by tasks and processes."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.primitives.exceptions import ConfigError, PersistenceError
from cqrs_ddd_specifications import field_types, operators
from cqrs_ddd_specifications.memory import documents, evaluator

from .write_queue import QueueingConnection

_OLDEST = (3, 35, 0)
"""First version that supports RETURNING."""
_NEEDS_NO_LOCK = {
    *("SELECT", "PRAGMA", "EXPLAIN", "VALUES", "BEGIN"),
    *("VACUUM", "ATTACH", "DETACH"),  # SQLite rejects these in a transaction.
}
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(\w*)", re.DOTALL)
_CHANGE = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE\s+INTO)\b", re.IGNORECASE)
"""Change after WITH; without a change the statement is a query."""
_CONFIGURED = "cqrs_ddd_sqlite"
JSON_FUNCTION = "cqrs_ddd_json"
"""SQL name of ``evaluate_json``, which ``configure_sqlite`` adds to every connection."""
QUERY_ONLY = "cqrs_ddd_query_only"
"""Note on a pooled connection that rejects changes: True, or False while it is being switched."""
keeps_query_only: ContextVar[bool] = ContextVar("keeps_query_only", default=False)
"""True while a reader takes a connection from the pool; for all others it is switched back."""
_LONGEST_CACHED = 4_000


def configure_sqlite(engine: AsyncEngine, *, busy_timeout: float = 30.0) -> AsyncEngine:
    """Configure an SQLite engine of the application, and return it.

    Its connections use the write-ahead log, so that readers never wait, check foreign keys, and
    wait up to ``busy_timeout`` seconds for the writers of this process, and then as long for those
    of other processes. A transaction takes the write lock at
    its first change (``BEGIN IMMEDIATE``). Its earlier reads see the rows committed at their time,
    as on PostgreSQL, and never make a change fail. An engine created with
    ``pool_reset_on_return=None`` commits faster, since the pool does not roll back again.

    Args:
        engine: engine on SQLite, before its first connection.
        busy_timeout: seconds to wait for other writers, of this process and of others.

    Raises:
        ConfigError: the engine is on another database, SQLite is too old, or all transactions would
            share one connection.
    """
    exceptions.arguments.ensure_instance(
        engine, AsyncEngine, "engine", example="create_async_engine(url)"
    )
    if engine.dialect.name != "sqlite":
        raise ConfigError(
            f"configure_sqlite got an engine for {engine.dialect.name}; it is for SQLite only"
        )
    if isinstance(engine.pool, sa.pool.StaticPool):
        raise ConfigError(
            "all transactions of the engine share one connection, which is the default for an "
            "in-memory database; use a file, or poolclass=AsyncAdaptedQueuePool, pool_size=1, "
            "max_overflow=0"
        )
    sync_engine = engine.sync_engine
    if is_configured(engine):
        return engine
    if sqlite_version(engine) < _OLDEST:
        raise ConfigError(
            f"SQLite {'.'.join(map(str, sqlite_version(engine)))} is too old; "
            f"use {'.'.join(map(str, _OLDEST))} or newer"
        )

    def prepare(connection: Any, entry: sa.pool.ConnectionPoolEntry, proxy: object) -> None:
        driver: Any = entry.driver_connection
        if _CONFIGURED not in entry.info:
            if driver.in_transaction:
                raise ConfigError(
                    "the driver has begun a transaction by itself; create the engine without "
                    "autocommit"
                )
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {round(busy_timeout * 1000)}")
            cursor.execute("PRAGMA foreign_keys = ON")
            _switch_to_write_ahead_log(cursor, busy_timeout)
            connection.create_function(JSON_FUNCTION, 2, evaluate_json, deterministic=True)
            cursor.close()
            entry.info[_CONFIGURED] = True
        if QUERY_ONLY in entry.info and not keeps_query_only.get():
            connection.run_async(lambda driver: driver.execute_fetchall("PRAGMA query_only = OFF"))
            del entry.info[QUERY_ONLY]
        if driver.isolation_level != "IMMEDIATE":
            # The sqlite3 module then sends BEGIN IMMEDIATE before the first change only. An
            # AUTOCOMMIT user of the pooled connection may have set another level.
            connection.isolation_level = "IMMEDIATE"

    def lock(
        connection: sa.Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        # The sqlite3 module begins a transaction before INSERT, UPDATE and DELETE only. Other
        # changes need BEGIN here, and so does a savepoint: its RELEASE would commit otherwise.
        driver: Any = connection.connection.driver_connection
        if driver.in_transaction or _needs_no_lock(statement):
            return
        # A connection that rejects changes needs no lock for a savepoint.
        if QUERY_ONLY not in connection.connection.info:
            cursor.execute("BEGIN IMMEDIATE")

    def roll_back(
        connection: Any, entry: sa.pool.ConnectionPoolEntry, error: BaseException | None
    ) -> None:
        # A cancelled statement may have rows left. SQLite would keep the connection and its write
        # lock until the last reference to the cursor is gone. The rollback is queued in the
        # thread before a second cancellation can interrupt it.
        with suppress(asyncio.CancelledError, sa.exc.MissingGreenlet):
            connection.rollback()

    def join_queue(dialect: object, entry: object, args: object, parameters: Any) -> None:
        if not is_in_memory(engine.url):
            opening = partial(QueueingConnection, busy_timeout=busy_timeout)
            parameters.setdefault("factory", opening)

    sa.event.listen(sync_engine, "do_connect", join_queue)
    sa.event.listen(sync_engine, "checkout", prepare)
    sa.event.listen(sync_engine, "invalidate", roll_back)
    sa.event.listen(sync_engine, "before_cursor_execute", lock)
    sync_engine.update_execution_options(**{_CONFIGURED: True})
    return engine


def keep_connection(engine: AsyncEngine) -> AsyncEngine:
    """Keep the connection of a database in memory when a statement is cancelled.

    SQLAlchemy would replace it, and SQLite deletes a database in memory with its connection. The
    thread of the connection ends a cancelled statement before it executes the next one.
    """

    def keep(context: sa.engine.ExceptionContext) -> None:
        context.is_disconnect = False

    sa.event.listen(engine.sync_engine, "handle_error", keep)
    return engine


def is_configured(engine: AsyncEngine) -> bool:
    """Return whether ``configure_sqlite`` has configured the engine."""
    return bool(engine.sync_engine.get_execution_options().get(_CONFIGURED))


def is_in_memory(url: sa.URL) -> bool:
    """Return whether the URL names a database in memory instead of a file."""
    return not url.database or ":memory:" in url.database or url.query.get("mode") == "memory"


def sqlite_version(engine: AsyncEngine) -> tuple[int, ...]:
    """Return the version of the SQLite library."""
    version: tuple[int, ...] = engine.dialect.loaded_dbapi.sqlite_version_info
    return version


def _needs_no_lock(statement: str) -> bool:
    found = _FIRST_WORD.match(statement)
    first = found.group(1).upper() if found else ""
    if first == "WITH":
        return _CHANGE.search(statement) is None
    return first in _NEEDS_NO_LOCK


def _switch_to_write_ahead_log(cursor: Any, busy_timeout: float) -> None:
    cursor.execute("PRAGMA journal_mode")
    deadline = time.monotonic() + busy_timeout
    while cursor.fetchone()[0] not in ("wal", "memory"):
        # SQLite ignores busy_timeout here: it fails if two connections switch at once.
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise PersistenceError(f"cannot switch to the write-ahead log: {error}") from error
            cursor.execute("PRAGMA journal_mode")


def evaluate_json(document: str | float | None, condition: str) -> int:
    """Return 1 if the document satisfies the condition ``[operator or null, keys, value]``.

    SQLite stores a document that is a single number as a number.
    """
    # Clients may send many long conditions, which would fill the memory.
    is_cached = len(condition) <= _LONGEST_CACHED
    test = (_compile_condition if is_cached else _compile_condition.__wrapped__)(condition)
    return test(json.loads(document) if isinstance(document, str) else document)


@lru_cache(maxsize=1024)
def _compile_condition(condition: str) -> Callable[[object], bool]:
    name, keys, value = json.loads(condition)
    if name is None:
        return lambda document: bool(documents.extract_keys([document], keys))
    test = evaluator.compile_value_test(operators.OPERATORS[name], value, field_types.JSON)
    if not keys:
        return test
    return lambda document: any(map(test, documents.extract_keys([document], keys)))
