"""Event store in a table, with global positions that readers never skip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from pydantic_core import to_json

from cqrs_ddd_core import ExpectedVersion, IEventLog, IQueueSignal, StoredEvent, UnitOfWork
from cqrs_ddd_core.ports.event_store import EVENTS_CHANNEL, AppendResult, StreamId
from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.primitives.storable import MAX_INTEGER, clamp_integer
from cqrs_ddd_core.spi import checks, event_pages, tenancy

from ..engine import AsyncConnection, Connections, SessionFactory, SQLAlchemyTransaction, driver
from ..engine.driver_errors import UNIQUE_VIOLATION, DriverError, sqlstate
from ..schema.column_types import iso_utc
from ..schema.tables import TABLES, Tables
from . import event_rows, statements

_ROWS_A_STATEMENT = 500
"""Limit on SQLite, where a statement takes at most 32,766 values."""


class SQLAlchemyEventStore(IEventLog):
    """Event store in a table; one statement appends a batch or reads a stream.

    A position is assigned before the commit, yet a reader of all streams gets no event while an
    event with a lower position may still be committed. On PostgreSQL this relies on the locks that
    ``create_schema`` sets up, on SQLite on its single writer.

    Args:
        session_factory: creates a transaction for calls outside a unit of work.
        tables: tables of the toolkit.
        signal: wakes ``wait_for`` early; units of work with the same signal notify it.
        poll_interval: seconds between two queries of ``wait_for``.
        uow: unit of work that all calls join.
    """

    def __init__(
        self,
        session_factory: SessionFactory | None = None,
        *,
        tables: Tables = TABLES,
        signal: IQueueSignal | None = None,
        poll_interval: float = 0.05,
        uow: UnitOfWork | None = None,
    ) -> None:
        self._connections = Connections(session_factory, exceptions.EventStoreError, uow)
        self._tables = tables
        self._signal = signal
        self._poll_interval = poll_interval

    async def append(self, stored_event: StoredEvent) -> None:
        """Append one event."""
        await self.append_batch([stored_event])

    async def append_batch(self, events: list[StoredEvent]) -> None:
        """Append events by one INSERT (on SQLite one for each 500 events).

        If two transactions append to a stream at the same time, a later version may get the lower
        position, unless the versions have no gap.
        """
        tenant_id = tenancy.get_row_tenant("append events")
        rows = [event_rows.to_row(event, tenant_id) for event in events]
        if not rows:
            return
        async with self._connections.join_transaction(None, "append events") as uow:
            await self._insert(uow, events, rows)

    async def append_to_stream(
        self,
        stream: StreamId,
        events: Sequence[StoredEvent],
        *,
        expected_version: ExpectedVersion | int = ExpectedVersion.ANY,
    ) -> AppendResult:
        """Append events after the last version of the stream.

        Args:
            stream: type and id of the aggregate.
            events: events to append; their versions are replaced.
            expected_version: version that the stream must have.

        Raises:
            OptimisticConcurrencyError: the stream has another version, or another transaction
                appends to it at the same time.
        """
        stream.ensure_storable()
        tenant_id = tenancy.get_row_tenant(f"append to {stream}")
        async with self._connections.join_transaction(None, "append to a stream") as uow:
            connection = await uow.driver_connection()
            last_version = self._get_statements(connection).last_version
            actual: int = (await driver.fetch(connection, last_version, tenant_id, *stream))[0][0]
            checks.ensure_expected_version(stream, expected_version, actual)
            numbered = [
                replace(event, aggregate_type=stream[0], aggregate_id=stream[1], version=v)
                for v, event in enumerate(events, actual + 1)
            ]
            if numbered:
                rows = [event_rows.to_row(event, tenant_id) for event in numbered]
                await self._insert(uow, numbered, rows)
        # Only the commit of a transaction for this call has happened by now.
        return AppendResult(actual + len(numbered), uow.committed_position)

    async def get_events(
        self,
        aggregate_id: str,
        *,
        after_version: int = 0,
        up_to_version: int | None = None,
        limit: int | None = None,
        descending: bool = False,
        aggregate_type: str | None = None,
    ) -> list[StoredEvent]:
        """Return the events of an aggregate by version; without its type, by the index on ids.

        A part of a stream without its type takes one statement more.
        """
        if limit is not None:
            checks.ensure_page_limit(limit)
        tenant_id = tenancy.get_row_tenant(f"read the events of {aggregate_id}")
        async with self._connections.read_connection(None, "read events") as connection:
            sql, fetch = self._get_statements(connection), partial(driver.fetch, connection)
            if aggregate_type is None:
                if (after_version, up_to_version, limit, descending) == (0, None, None, False):
                    rows = await fetch(sql.by_id, tenant_id, aggregate_id)
                    events = self._read_events(connection, rows)
                    _ensure_one_type(aggregate_id, {event.aggregate_type for event in events})
                    return events
                types = {row[0] for row in await fetch(sql.types, tenant_id, aggregate_id)}
                _ensure_one_type(aggregate_id, types)
                if not types:
                    return []
                (aggregate_type,) = types
            rows = await fetch(
                sql.latest_of_stream if descending else sql.stream,
                tenant_id,
                aggregate_type,
                aggregate_id,
                clamp_integer(after_version),
                MAX_INTEGER if up_to_version is None else clamp_integer(up_to_version),
                MAX_INTEGER if limit is None else clamp_integer(limit),
            )
            return self._read_events(connection, rows)

    async def get_streams(
        self, streams: Collection[StreamId], *, after_version: int = 0
    ) -> dict[StreamId, list[StoredEvent]]:
        """Return the events of many streams by one statement."""
        tenant_id = tenancy.get_row_tenant("read streams")
        found: dict[StreamId, list[StoredEvent]] = {stream: [] for stream in streams}
        async with self._connections.read_connection(None, "read streams") as connection:
            if driver.is_postgres(connection):
                wanted: tuple[object, ...] = tuple(zip(*found, strict=True)) or ((), ())
            else:
                wanted = (to_json(list(found)).decode(),)
            sql = self._get_statements(connection).streams
            bound = clamp_integer(after_version)
            rows = await driver.fetch(connection, sql, tenant_id, bound, *wanted)
            for event in self._read_events(connection, rows):
                found[event.stream].append(event)
        return found

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        """Return the next page of all streams, up to the first event that may still be preceded.

        An uncommitted event of a slow transaction may precede it.
        """
        return await self._read_page(position, limit)

    async def get_events_of_types(
        self, event_types: Collection[str], *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """Return the next page of events of some types, by the index on type and position."""
        return await self._read_page(after, limit, types=sorted(set(event_types)))

    async def get_events_between(
        self, start: datetime, end: datetime, *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """Return the next page of events from ``start`` to before ``end``, by the index on time."""
        return await self._read_page(after, limit, times=(start, end))

    def stream_after(self, position: int, *, batch_size: int = 500) -> AsyncIterator[StoredEvent]:
        """Yield all later events, by one statement per batch; no cursor stays open in between."""
        return event_pages.stream_pages(self.get_events_after, position, batch_size)

    async def latest_position(self) -> int:
        """Return the highest position that readers of all streams may get."""
        async with self._connections.read_connection(None, "read the last position") as connection:
            end = await self._find_end(connection)
            latest: int = (
                await driver.fetch(connection, self._get_statements(connection).latest, end)
            )[0][0]
            return latest

    async def highest_position(self) -> int:
        """Return the highest committed position, even if readers cannot get it yet."""
        async with self._connections.read_connection(None, "read the last position") as connection:
            highest: int = (
                await driver.fetch(connection, self._get_statements(connection).latest, MAX_INTEGER)
            )[0][0]
            return highest

    async def get_first_committed(self, *, after: int) -> StoredEvent | None:
        """Return the next committed event, even if readers cannot get it yet."""
        tenant_id = tenancy.get_visible_tenant()
        async with self._connections.autocommit_connection("read the next event") as connection:
            sql = self._get_statements(connection).after
            bound = clamp_integer(after)
            rows = await driver.fetch(connection, sql, bound, MAX_INTEGER, tenant_id, 1)
            return next(iter(_read_events(connection, rows)), None)

    async def wait_for(self, position: int, *, timeout: float) -> bool:
        """Poll until readers may get the position; the signal ends a pause early.

        Args:
            position: position to wait for.
            timeout: seconds to wait; then False is returned.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while await self.latest_position() < position:
            remaining = deadline - loop.time()
            if remaining <= 0:
                return False
            pause = min(self._poll_interval, remaining)
            if self._signal is None:
                await asyncio.sleep(pause)
            else:
                await self._signal.wait(EVENTS_CHANNEL, pause)
        return True

    def _get_statements(self, connection: AsyncConnection) -> statements.EventStatements:
        return statements.event_statements(self._tables, driver.is_postgres(connection))

    async def _insert(
        self, uow: SQLAlchemyTransaction, events: Sequence[StoredEvent], rows: list[event_rows.Row]
    ) -> None:
        tenant_id = rows[0][-1]
        firsts = [
            (tenant_id, *stream, version)
            for stream, version in checks.find_first_versions(events).items()
        ]
        connection = await uow.driver_connection()
        sql = self._get_statements(connection)
        positions: list[int] = []
        if driver.is_postgres(connection):
            inserted = await self._insert_in_postgres(uow, connection, rows, firsts)
            positions += [row[0] for row in inserted]
        else:
            last = to_json(firsts).decode()
            for start in range(0, len(rows), _ROWS_A_STATEMENT):
                part = rows[start : start + _ROWS_A_STATEMENT]
                values = [value for row in part for value in event_rows.to_sqlite_row(row)]
                insert = sql.insert_values(len(part))
                inserted = await driver.fetch(connection, insert, *values, last)
                positions += [row[0] for row in inserted]
                last = "[]"  # The first statement has checked all streams.
        if len(positions) < len(rows):
            raise await _find_append_error(connection, sql, events, set(positions), tenant_id)
        uow.record_append(positions, self._tables.events)

    async def _insert_in_postgres(
        self,
        uow: SQLAlchemyTransaction,
        connection: AsyncConnection,
        rows: list[event_rows.Row],
        firsts: Sequence[Sequence[object]],
    ) -> Sequence[Sequence[int]]:
        sql = self._get_statements(connection)
        if len(rows) == 1:
            return await driver.fetch(connection, sql.insert_event, *rows[0])
        columns: list[object] = [list(column) for column in zip(*rows, strict=True)]
        insert, insert_or_fail = sql.insert_stream, sql.insert_stream_or_fail
        if len(firsts) == 1:
            columns += firsts[0]
        else:
            insert, insert_or_fail = sql.insert_streams, sql.insert_streams_or_fail
            columns += [list(column) for column in zip(*firsts, strict=True)]
        if uow.can_retry_insert(self._tables.events):
            # Without ON CONFLICT, which takes a sixth of the time of a large batch.
            try:
                return await driver.fetch(connection, insert_or_fail, *columns)
            except DriverError as error:
                if sqlstate(error) != UNIQUE_VIOLATION:
                    raise
                await uow.restart_transaction(error)
        return await driver.fetch(connection, insert, *columns)

    async def _read_page(
        self,
        after: int,
        limit: int,
        types: list[str] | None = None,
        times: tuple[datetime, datetime] | None = None,
    ) -> list[StoredEvent]:
        checks.ensure_page_limit(limit)
        operation, tenant_id = "read events of all streams", tenancy.get_visible_tenant()
        async with self._connections.read_connection(None, operation) as connection:
            end = await self._find_end(connection)
            if end <= after:
                return []
            sql, limit = self._get_statements(connection), clamp_integer(limit)
            pages = clamp_integer(after), end, tenant_id
            if types is not None:
                wanted: object = (
                    types if driver.is_postgres(connection) else to_json(types).decode()
                )
                rows = await driver.fetch(connection, sql.of_types, *pages, wanted, limit)
            elif times is not None:
                span = times if driver.is_postgres(connection) else map(iso_utc, times)
                rows = await driver.fetch(connection, sql.between, *pages, *span, limit)
            else:
                rows = await driver.fetch(connection, sql.after, *pages, limit)
            return _read_events(connection, rows)

    async def _find_end(self, connection: AsyncConnection) -> int:
        """Return the position up to which no event can appear any more.

        Events that this unit of work has appended lie above it.
        """
        end = MAX_INTEGER
        if driver.is_postgres(connection):
            end = (await driver.fetch(connection, self._get_statements(connection).safe_position))[
                0
            ][0]
        own = self._get_own_positions()
        return min(end, own[0] - 1) if own else end

    def _read_events(
        self, connection: AsyncConnection, rows: Iterable[Sequence[object]]
    ) -> list[StoredEvent]:
        """Return the events of a stream, without positions of uncommitted events."""
        events = _read_events(connection, rows)
        event_rows.clear_positions(events, self._get_own_positions())
        return events

    def _get_own_positions(self) -> Sequence[int]:
        """Return the positions that the joined unit of work has assigned, in ascending order."""
        uow = self._connections.current()
        if not isinstance(uow, SQLAlchemyTransaction):
            return ()
        return uow.get_appended(self._tables.events)


def _ensure_one_type(aggregate_id: str, types: set[str]) -> None:
    if len(types) > 1:
        raise exceptions.AmbiguousStreamError.shared_id(aggregate_id, types)


async def _find_append_error(
    connection: AsyncConnection,
    sql: statements.EventStatements,
    events: Sequence[StoredEvent],
    inserted: set[int],
    tenant_id: str,
) -> exceptions.EventStoreError | exceptions.OptimisticConcurrencyError:
    """Build the error for the first skipped event; the caller rolls the batch back."""
    stored = [
        await driver.fetch(connection, sql.places, tenant_id, *event.stream, event.version)
        for event in events
    ]
    for event, rows in zip(events, stored, strict=True):
        others = [version for version, position in rows if position not in inserted]
        if others:
            return exceptions.OptimisticConcurrencyError.version_taken(
                str(event.stream), event.version, max(others)
            )
    for event, rows in zip(events, stored, strict=True):
        if event.version not in (version for version, _ in rows):
            return exceptions.DuplicateEventError.already_stored(event.event_type, event.event_id)
    return exceptions.EventStoreError(
        "the event table has skipped rows although their versions and ids are free; "
        "check its triggers and rules"
    )


def _read_events(
    connection: AsyncConnection, rows: Iterable[Sequence[object]]
) -> list[StoredEvent]:
    return event_rows.read_events(rows, are_from_postgres=driver.is_postgres(connection))
