"""Operations on tables with many rows, compared with the same operations on small tables."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    SQLAlchemyUnitOfWork,
    Tables,
)

EVENTS_A_STREAM = 100
WAITING = 1_000
"""Messages that are not published yet; all others are old."""
REPEATS = 20
NOW = datetime.now(timezone.utc)

_EXPLAINED = ("SELECT", "WITH", "DELETE", "UPDATE")

Operation = Callable[[], Awaitable[object]]


@dataclass
class Findings:
    """Seconds of each operation in a small and in a large store, and scans of whole tables."""

    rows: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    scans: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ratios = (
            f"{name} {large / small:.2f}x ({large * 1e3:.2f} ms)"
            for name, (small, large) in self.seconds.items()
        )
        scans = "; ".join(self.scans) or "none"
        return f"{self.rows:,} rows: {', '.join(ratios)}; scans of whole tables: {scans}"


async def measure(engine: AsyncEngine, tables: Tables, *, rows: int) -> Findings:
    """Measure the operations with few rows, add rows, and measure and explain them again."""
    findings = Findings(rows)
    operations = _create_operations(engine, tables)
    await fill(engine, tables, first=0, last=2 * WAITING)
    for name, operation in operations.items():
        findings.seconds[name] = [await _time(operation)]
    await fill(engine, tables, first=2 * WAITING, last=rows)
    for name, operation in operations.items():
        findings.seconds[name].append(await _time(operation))
        findings.scans += [
            f"{name}: {line}" for line in await find_scans(engine, tables, operation)
        ]
    return findings


def _create_operations(engine: AsyncEngine, tables: Tables) -> dict[str, Operation]:
    sessions = async_sessionmaker(engine)
    store = SQLAlchemyEventStore(sessions, tables=tables)
    outbox = SQLAlchemyOutboxStorage(sessions, tables=tables)
    inbox = SQLAlchemyInbox(sessions, tables=tables)
    numbers = count()
    old = NOW - timedelta(days=365)

    async def append() -> None:
        async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=tables) as uow:
            await uow.event_store.append(event(new_stream(), 1))
            message = OutboxMessage(
                message_id=f"new-{next(numbers)}",
                event_type="Paid",
                payload={},
                partition_key="new",
            )
            await uow.outbox.save_messages([message], uow)
            await uow.inbox.register("commands", f"new-{next(numbers)}", "fingerprint", uow)

    async def load() -> None:
        assert len(await store.get_events("stream-7", aggregate_type="Order")) == EVENTS_A_STREAM

    async def list_events() -> None:
        end = await store.latest_position()
        assert len(await store.get_events_after(end - 100)) <= 100

    async def claim() -> None:
        for lease in await outbox.claim("relay", limit=10):
            await outbox.release(lease)

    async def count_backlog() -> None:
        await outbox.get_backlog()

    async def purge() -> None:
        await outbox.purge(old, limit=10)
        await inbox.purge(old, limit=10)

    return {
        "append": append,
        "load": load,
        "list": list_events,
        "claim": claim,
        "backlog": count_backlog,
        "purge": purge,
    }


async def _time(operation: Operation) -> float:
    """Return the median of the seconds of the operation."""
    await operation()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        await operation()
        found.append(time.perf_counter() - began)
    return sorted(found)[REPEATS // 2]


async def fill(engine: AsyncEngine, tables: Tables, *, first: int, last: int) -> None:
    """Insert events, published messages and handled messages with numbers from ``first``."""
    if engine.dialect.name == "postgresql":
        numbers = sa.select(
            sa.func.generate_series(first, last - 1).column_valued("n").label("n")
        ).cte("numbers")
    else:
        numbers = sa.select(sa.literal(first).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n + 1 < last))
    text = sa.cast(numbers.c.n, sa.Text)
    empty, old = sa.cast(sa.literal("{}"), sa.Text), NOW - timedelta(days=30)
    payload = sa.cast(empty, sa.JSON) if engine.dialect.name == "postgresql" else empty
    stream = "stream-" + sa.cast(numbers.c.n / EVENTS_A_STREAM, sa.Integer).cast(sa.Text)
    time_ = sa.literal(old, tables.events.c.occurred_at.type)
    no_time = sa.cast(sa.null(), tables.outbox.c.published_at.type)
    published_at = sa.case((numbers.c.n < WAITING, no_time), else_=time_)
    rows: dict[sa.Table, dict[str, Any]] = {
        tables.events: {
            "event_id": "e-" + text,
            "event_type": sa.literal("Paid"),
            "aggregate_id": stream,
            "aggregate_type": sa.literal("Order"),
            "version": numbers.c.n % EVENTS_A_STREAM + 1,
            "schema_version": sa.literal(1),
            "payload": payload,
            "metadata": payload,
            "occurred_at": time_,
        },
        tables.outbox: {
            "message_id": "m-" + text,
            "lease_key": "k-" + sa.cast(numbers.c.n % 500, sa.Text),
            "event_type": sa.literal("Paid"),
            "payload": payload,
            "metadata": payload,
            "created_at": time_,
            "published_at": published_at,
            "retry_count": sa.literal(0),
            "correlation_id": sa.literal("c"),
        },
        tables.inbox: {
            "consumer": sa.literal("sales"),
            "message_id": "m-" + text,
            "fingerprint": sa.literal("f"),
            "registered_at": time_,
        },
    }
    async with engine.begin() as connection:
        for table, values in rows.items():
            await connection.execute(
                sa.insert(table).from_select(list(values), sa.select(*values.values()))
            )
    async with engine.connect() as connection:
        autocommitting = await connection.execution_options(isolation_level="AUTOCOMMIT")
        prepare = engine.dialect.identifier_preparer.format_table
        for table in rows:
            verb = "VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"
            await autocommitting.exec_driver_sql(f"{verb} {prepare(table)}")


async def find_scans(engine: AsyncEngine, tables: Tables, operation: Operation) -> list[str]:
    """Return the large tables that the operation reads, or on SQLite sorts, completely."""
    if engine.dialect.name == "postgresql":
        await _end_other_connections(engine)
        before = await _count_scanned_rows(engine, tables)
        await operation()
        await _end_other_connections(engine)
        after = await _count_scanned_rows(engine, tables)
        return [
            f"{name} ({after[name] - before[name]:,} rows)"
            for name in after
            if after[name] - before[name] > 10 * WAITING
        ]
    statements: list[str] = []

    def record(connection: Any, *_: object) -> None:
        connection.driver_connection._conn.set_trace_callback(statements.append)

    sa.event.listen(engine.sync_engine, "checkout", record)
    try:
        await operation()
    finally:
        sa.event.remove(engine.sync_engine, "checkout", record)
        await engine.dispose()
    scans = [f"SCAN {table.name}" for table in (tables.events, tables.outbox, tables.inbox)]
    found = []
    async with engine.connect() as connection:
        for statement in statements:
            if not statement.lstrip("( ").upper().startswith(_EXPLAINED):
                continue
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")
            steps = [str(step) for (*_, step) in plan]
            found += [step for step in steps if step in scans or step.startswith("USE TEMP B-TREE")]
    return found


async def _end_other_connections(engine: AsyncEngine) -> None:
    """Close the connections of the pool, since a connection reports its scans when it ends."""
    await engine.dispose()
    others = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    async with engine.connect() as connection:
        while await connection.scalar(others):
            await connection.rollback()
            await asyncio.sleep(0.01)


async def _count_scanned_rows(engine: AsyncEngine, tables: Tables) -> dict[str, int]:
    """Return the rows that sequential scans have read, by table."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            sa.text(
                "SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = :schema"
            ),
            {"schema": tables.schema or "public"},
        )
        return {str(name): int(read) for name, read in rows}
