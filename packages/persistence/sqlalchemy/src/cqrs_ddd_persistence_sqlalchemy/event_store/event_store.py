"""Events in a table, in one order that no reader can overtake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.ports.event_store import (
    EVENTS_CHANNEL,
    ExpectedVersion,
    IEventLog,
    StoredEvent,
    StreamId,
)
from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    AmbiguousStreamError,
    DuplicateEventError,
    EventStoreError,
    OptimisticConcurrencyError,
)
from cqrs_ddd_core.primitives.storable import ensure_storable
from cqrs_ddd_core.spi.checks import ensure_expected_version, ensure_page_limit

from ..engine.connections import Connections
from ..engine.driver import fetch, is_postgres
from ..engine.driver_errors import UNIQUE_VIOLATION, DriverError, sqlstate
from ..engine.engines import SessionFactory
from ..engine.transaction import SQLAlchemyTransaction
from ..schema.tables import TABLES, Tables, iso_utc
from .event_rows import events_of, for_sqlite, row_of
from .statements import EventStatements, statements

_ROWS_A_STATEMENT = 500
"""On SQLite, where a statement takes at most 32,766 values."""
_ALL = 2**63 - 1


class SQLAlchemyEventStore(IEventLog):
    """The event table: one statement appends a batch, another reads a stream.

    A position is given out before the commit, yet a reader of all streams gets no event while one
    below it may still be committed: on PostgreSQL through the locks that ``create_schema`` sets
    up, on SQLite because it has one writer.

    Args:
        signal: wakes ``wait_for`` early; a unit of work with the same signal tells it.
        poll_interval: seconds between the looks of ``wait_for``.
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
        self._connections = Connections(session_factory, EventStoreError, uow)
        self._tables = tables
        self._signal = signal
        self._poll_interval = poll_interval

    async def append(self, stored_event: StoredEvent) -> None:
        await self.append_batch([stored_event])

    async def append_batch(self, events: list[StoredEvent]) -> None:
        rows = [row_of(event) for event in events]
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
        ensure_storable("a stream", *stream)
        async with self._connections.join_transaction(None, "append to a stream") as uow:
            connection = await uow.driver_connection()
            last_version = self._sql(connection).last_version
            actual: int = (await fetch(connection, last_version, *stream))[0][0]
            ensure_expected_version(stream, expected_version, actual)
            numbered = [
                replace(event, aggregate_type=stream[0], aggregate_id=stream[1], version=v)
                for v, event in enumerate(events, actual + 1)
            ]
            if numbered:
                await self._insert(uow, numbered, [row_of(event) for event in numbered])
            return actual + len(numbered)

    async def get_events(
        self,
        aggregate_id: str,
        *,
        after_version: int = 0,
        aggregate_type: str | None = None,
    ) -> list[StoredEvent]:
        async with self._connections.read_connection(None, "read events") as connection:
            sql = self._sql(connection)
            if aggregate_type is not None:
                rows = await fetch(
                    connection, sql.stream, aggregate_type, aggregate_id, after_version
                )
                return _events(connection, rows)
            events = _events(
                connection, await fetch(connection, sql.by_id, aggregate_id, after_version)
            )
            types = {event.aggregate_type for event in events}
            if after_version:
                types = {row[0] for row in await fetch(connection, sql.types, aggregate_id)}
            if len(types) > 1:
                raise AmbiguousStreamError.shared_id(aggregate_id, types)
            return events

    async def get_streams(
        self, streams: Collection[StreamId], *, after_version: int = 0
    ) -> dict[StreamId, list[StoredEvent]]:
        found: dict[StreamId, list[StoredEvent]] = {stream: [] for stream in streams}
        async with self._connections.read_connection(None, "read streams") as connection:
            if is_postgres(connection):
                wanted: tuple[object, ...] = tuple(zip(*found, strict=True)) or ((), ())
            else:
                wanted = (to_json(list(found)).decode(),)
            rows = await fetch(connection, self._sql(connection).streams, after_version, *wanted)
            for event in _events(connection, rows):
                found[event.stream].append(event)
        return found

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        return await self._page(position, limit)

    async def get_events_of_types(
        self, event_types: Collection[str], *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        return await self._page(after, limit, types=sorted(set(event_types)))

    async def get_events_between(
        self, start: datetime, end: datetime, *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        return await self._page(after, limit, times=(start, end))

    async def stream_after(
        self, position: int, *, batch_size: int = 500
    ) -> AsyncIterator[StoredEvent]:
        while batch := await self.get_events_after(position, batch_size):
            for event in batch:
                yield event
            position = batch[-1].position or 0

    async def latest_position(self) -> int:
        async with self._connections.read_connection(None, "read the last position") as connection:
            end = await self._end(connection)
            latest: int = (await fetch(connection, self._sql(connection).latest, end))[0][0]
            return latest

    async def highest_position(self) -> int:
        async with self._connections.read_connection(None, "read the last position") as connection:
            highest: int = (await fetch(connection, self._sql(connection).latest, _ALL))[0][0]
            return highest

    async def wait_for(self, position: int, *, timeout: float) -> bool:
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

    def _sql(self, connection: AsyncConnection) -> EventStatements:
        return statements(self._tables, is_postgres(connection))

    async def _insert(
        self, uow: SQLAlchemyTransaction, events: Sequence[StoredEvent], rows: list[tuple[Any, ...]]
    ) -> None:
        connection = await uow.driver_connection()
        sql = self._sql(connection)
        positions: list[int] = []
        if is_postgres(connection):
            inserted = await self._insert_arrays(uow, connection, rows)
            positions += [row[0] for row in inserted]
        else:
            for start in range(0, len(rows), _ROWS_A_STATEMENT):
                part = rows[start : start + _ROWS_A_STATEMENT]
                values = [value for row in part for value in for_sqlite(row)]
                inserted = await fetch(connection, sql.insert_values(len(part)), *values)
                positions += [row[0] for row in inserted]
        if len(positions) < len(rows):
            raise await _append_error(connection, sql, events, set(positions))
        uow.record_append(positions, self._tables.events)

    async def _insert_arrays(
        self, uow: SQLAlchemyTransaction, connection: AsyncConnection, rows: list[tuple[Any, ...]]
    ) -> Sequence[Any]:
        sql = self._sql(connection)
        columns = [list(column) for column in zip(*rows, strict=True)]
        if len(rows) > 1 and uow.can_retry_insert(self._tables.events):
            # Passing over what is taken would cost a sixth of the time of a large batch.
            try:
                return await fetch(connection, sql.insert_arrays_or_fail, *columns)
            except DriverError as error:
                if sqlstate(error) != UNIQUE_VIOLATION:
                    raise
                await uow.restart_transaction(error)
        return await fetch(connection, sql.insert_arrays, *columns)

    async def _page(
        self,
        after: int,
        limit: int,
        types: list[str] | None = None,
        times: tuple[datetime, datetime] | None = None,
    ) -> list[StoredEvent]:
        ensure_page_limit(limit)
        operation = "read events of all streams"
        async with self._connections.read_connection(None, operation) as connection:
            end = await self._end(connection)
            if end <= after:
                return []
            sql = self._sql(connection)
            if types is not None:
                wanted: object = types if is_postgres(connection) else to_json(types).decode()
                rows = await fetch(connection, sql.of_types, after, end, wanted, limit)
            elif times is not None:
                span = times if is_postgres(connection) else map(iso_utc, times)
                rows = await fetch(connection, sql.between, after, end, *span, limit)
            else:
                rows = await fetch(connection, sql.after, after, end, limit)
            return _events(connection, rows)

    async def _end(self, connection: AsyncConnection) -> int:
        """The last position below which nothing can appear any more; own events lie above it."""
        end = _ALL
        if is_postgres(connection):
            end = (await fetch(connection, self._sql(connection).safe_position))[0][0]
        uow = self._connections.current()
        own = None
        if isinstance(uow, SQLAlchemyTransaction):
            own = uow.first_position(self._tables.events)
        return end if own is None else min(end, own - 1)


async def _append_error(
    connection: AsyncConnection,
    sql: EventStatements,
    events: Sequence[StoredEvent],
    inserted: set[int],
) -> EventStoreError | OptimisticConcurrencyError:
    """Build the error for the first event that was skipped; the batch rolls back with it."""
    places: set[tuple[StreamId, int]] = set()
    for event in events:
        rows = await fetch(connection, sql.places, *event.stream, event.version)
        others = [version for version, position in rows if position not in inserted]
        if event.version in others or (event.stream, event.version) in places:
            actual = max(others, default=event.version - 1)
            return OptimisticConcurrencyError.version_taken(
                str(event.stream), event.version, actual
            )
        if event.version not in (version for version, _ in rows):
            return DuplicateEventError.already_stored(event.event_type, event.event_id)
        places.add((event.stream, event.version))
    return EventStoreError(
        "the event table took fewer rows than it was given, and no version and no id is taken; "
        "look for triggers or rules on it"
    )


def _events(connection: AsyncConnection, rows: Iterable[Any]) -> list[StoredEvent]:
    return events_of(rows, are_from_postgres=is_postgres(connection))
