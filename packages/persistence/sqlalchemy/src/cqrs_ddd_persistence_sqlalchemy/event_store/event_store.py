"""Event store in a table, with global positions that readers never skip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from pydantic_core import to_json

from cqrs_ddd_core import ExpectedVersion, IEventLog, IQueueSignal, StoredEvent, UnitOfWork
from cqrs_ddd_core.ports.event_store import EVENTS_CHANNEL, StreamId
from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.spi import checks, event_pages, tenancy

from ..engine import AsyncConnection, Connections, SessionFactory, SQLAlchemyTransaction, driver
from ..engine.driver_errors import UNIQUE_VIOLATION, DriverError, sqlstate
from ..schema.column_types import iso_utc
from ..schema.tables import TABLES, Tables
from . import event_rows, statements

_ROWS_A_STATEMENT = 500
"""Limit on SQLite, where a statement takes at most 32,766 values."""
_ALL = 2**63 - 1


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
        """Append one event.

        Raises:
            OptimisticConcurrencyError: the stream already has an event of this version.
            DuplicateEventError: the id of the event is already stored.
        """
        await self.append_batch([stored_event])

    async def append_batch(self, events: list[StoredEvent]) -> None:
        """Append events by one INSERT (on SQLite one for each 500 events).

        Raises:
            OptimisticConcurrencyError: a stream already has an event of one of the versions.
            DuplicateEventError: the id of an event is already stored.
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
    ) -> int:
        """Append events after the last version of the stream, and return the new version.

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
            return actual + len(numbered)

    async def get_events(
        self, aggregate_id: str, *, after_version: int = 0, aggregate_type: str | None = None
    ) -> list[StoredEvent]:
        """Return the events of an aggregate by version; without its type, by the index on ids.

        Raises:
            AmbiguousStreamError: aggregates of several types have the id; pass ``aggregate_type``.
        """
        tenant_id = tenancy.get_row_tenant(f"read the events of {aggregate_id}")
        async with self._connections.read_connection(None, "read events") as connection:
            sql, place = self._get_statements(connection), (tenant_id, aggregate_id)
            if aggregate_type is not None:
                stream = (tenant_id, aggregate_type, aggregate_id)
                rows = await driver.fetch(connection, sql.stream, *stream, after_version)
                return _read_events(connection, rows)
            rows = await driver.fetch(connection, sql.by_id, *place, after_version)
            events = _read_events(connection, rows)
            types = {event.aggregate_type for event in events}
            if after_version:
                types = {row[0] for row in await driver.fetch(connection, sql.types, *place)}
            if len(types) > 1:
                raise exceptions.AmbiguousStreamError.shared_id(aggregate_id, types)
            return events

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
            rows = await driver.fetch(connection, sql, tenant_id, after_version, *wanted)
            for event in _read_events(connection, rows):
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
                await driver.fetch(connection, self._get_statements(connection).latest, _ALL)
            )[0][0]
            return highest

    async def get_first_committed(self, *, after: int) -> StoredEvent | None:
        """Return the next committed event, even if readers cannot get it yet."""
        tenant_id = tenancy.get_visible_tenant()
        async with self._connections.autocommit_connection("read the next event") as connection:
            sql = self._get_statements(connection).after
            rows = await driver.fetch(connection, sql, after, _ALL, tenant_id, 1)
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
        connection = await uow.driver_connection()
        sql = self._get_statements(connection)
        positions: list[int] = []
        if driver.is_postgres(connection):
            inserted = await self._insert_arrays(uow, connection, rows)
            positions += [row[0] for row in inserted]
        else:
            for start in range(0, len(rows), _ROWS_A_STATEMENT):
                part = rows[start : start + _ROWS_A_STATEMENT]
                values = [value for row in part for value in event_rows.to_sqlite_row(row)]
                inserted = await driver.fetch(connection, sql.insert_values(len(part)), *values)
                positions += [row[0] for row in inserted]
        if len(positions) < len(rows):
            raise await _find_append_error(connection, sql, events, set(positions), rows[0][-1])
        uow.record_append(positions, self._tables.events)

    async def _insert_arrays(
        self, uow: SQLAlchemyTransaction, connection: AsyncConnection, rows: list[event_rows.Row]
    ) -> Sequence[Sequence[int]]:
        sql = self._get_statements(connection)
        columns = [list(column) for column in zip(*rows, strict=True)]
        if len(rows) > 1 and uow.can_retry_insert(self._tables.events):
            # Without ON CONFLICT, which takes a sixth of the time of a large batch.
            try:
                return await driver.fetch(connection, sql.insert_arrays_or_fail, *columns)
            except DriverError as error:
                if sqlstate(error) != UNIQUE_VIOLATION:
                    raise
                await uow.restart_transaction(error)
        return await driver.fetch(connection, sql.insert_arrays, *columns)

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
            sql, pages = self._get_statements(connection), (after, end, tenant_id)
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
        end = _ALL
        if driver.is_postgres(connection):
            end = (await driver.fetch(connection, self._get_statements(connection).safe_position))[
                0
            ][0]
        uow = self._connections.current()
        own = None
        if isinstance(uow, SQLAlchemyTransaction):
            own = uow.first_position(self._tables.events)
        return end if own is None else min(end, own - 1)


async def _find_append_error(
    connection: AsyncConnection,
    sql: statements.EventStatements,
    events: Sequence[StoredEvent],
    inserted: set[int],
    tenant_id: str,
) -> exceptions.EventStoreError | exceptions.OptimisticConcurrencyError:
    """Build the error for the first skipped event; the caller rolls the batch back."""
    places: set[tuple[StreamId, int]] = set()
    for event in events:
        rows = await driver.fetch(connection, sql.places, tenant_id, *event.stream, event.version)
        others = [version for version, position in rows if position not in inserted]
        if event.version in others or (event.stream, event.version) in places:
            actual = max(others, default=event.version - 1)
            return exceptions.OptimisticConcurrencyError.version_taken(
                str(event.stream), event.version, actual
            )
        if event.version not in (version for version, _ in rows):
            return exceptions.DuplicateEventError.already_stored(event.event_type, event.event_id)
        places.add((event.stream, event.version))
    return exceptions.EventStoreError(
        "the event table has skipped rows although their versions and ids are free; "
        "check its triggers and rules"
    )


def _read_events(
    connection: AsyncConnection, rows: Iterable[Sequence[object]]
) -> list[StoredEvent]:
    return event_rows.read_events(rows, are_from_postgres=driver.is_postgres(connection))
