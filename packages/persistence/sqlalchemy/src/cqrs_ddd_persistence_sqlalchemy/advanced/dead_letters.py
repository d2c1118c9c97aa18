"""Dead letters of projections in a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic_core import to_json

import cqrs_ddd_advanced_core as advanced
from cqrs_ddd_advanced_core import DeadLetter, DeadLetterCount, DeadLetterState
from cqrs_ddd_advanced_core.spi.checks import ensure_page_limit
from cqrs_ddd_core import StreamId, UnitOfWork
from cqrs_ddd_core.primitives.storable import make_storable
from cqrs_ddd_core.spi import tenancy

from ..engine import AsyncConnection, Connections, SessionFactory, driver
from ..schema.tables import TABLES, Tables
from ..schema.tenants import is_visible

_SKIPPED, _POISON, _WAITING = (
    each.name for each in (DeadLetterState.SKIPPED, DeadLetterState.POISON, DeadLetterState.WAITING)
)


Place = tuple[str, str, str]
"""Tenant, type and id of an aggregate."""
_KEY_PARAMETERS: tuple[object, object] = (
    sa.bindparam("at_projection"),
    sa.bindparam("at_position"),
)


class SQLAlchemyDeadLetterStore(advanced.IDeadLetterStore):
    """Dead letters of projections in a table with the primary key (projection, position).

    ``retry`` and ``discard`` of a poison event lock its row, and so does ``add`` for events that
    wait behind it. The later transaction therefore waits for the earlier one; otherwise an event
    could be added as waiting after its poison event was resolved.

    Args:
        session_factory: creates a transaction for calls outside a unit of work.
        tables: tables of the toolkit.
    """

    def __init__(self, session_factory: SessionFactory, *, tables: Tables = TABLES) -> None:
        super().__init__()
        self._connections = Connections(session_factory)
        self._letters: sa.Table = tables.advanced.dead_letters

    async def add(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Insert or replace dead letters, in the transaction of the projection worker."""
        if not dead_letters:
            return
        for each in dead_letters:
            tenancy.ensure_visible(each.tenant_id, f"the dead letter at position {each.position}")
        table = self._letters
        # All writers use the same order, or two could deadlock; a poison event precedes the events
        # that wait behind it.
        rows = {_sort_key(each): _to_row(each) for each in sorted(dead_letters, key=_sort_key)}
        waiting = [e for e in dead_letters if e.state is DeadLetterState.WAITING and not e.is_due]
        async with self._connections.join_transaction(uow, "add dead letters") as active:
            connection = await active.connection()
            insert = driver.upsert_statement(connection, table)
            key = [table.c.projection, table.c.position]
            await connection.execute(
                insert.on_conflict_do_update(
                    index_elements=key,
                    set_={c.name: insert.excluded[c.name] for c in table.c if c not in key},
                ),
                list(rows.values()),
            )
            for projection in sorted({letter.projection for letter in waiting}):
                ours = [letter for letter in waiting if letter.projection == projection]
                await self._release_unblocked(connection, projection, ours)

    async def remove(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Delete dead letters by primary key, in the transaction of the projection worker."""
        if not dead_letters:
            return
        keys = [
            {"at_projection": projection, "at_position": position}
            for projection, position in sorted(map(_sort_key, dead_letters))
        ]
        async with self._connections.join_transaction(uow, "remove dead letters") as active:
            connection = await active.connection()
            await connection.execute(
                sa.delete(self._letters).where(self._is_at(*_KEY_PARAMETERS), self._is_visible()),
                keys,
            )

    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        """Return the streams that a dead letter blocks, by a partial index of open dead letters."""
        tenant_id = tenancy.get_row_tenant("read blocked streams")
        if not streams:
            return set()
        places = [(tenant_id, *stream) for stream in streams]
        async with self._connections.read_connection(uow, "read blocked streams") as connection:
            found = await self._select_streams(connection, "blocked", projection, places)
        return {StreamId(*place[1:]) for place in found}

    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        """Return dead letters to retry with none in front of them, by the partial index ``due``."""
        ensure_page_limit(limit)
        table, before = self._letters, self._letters.alias("before")
        # A dead letter waits for earlier ones of its stream that are not due yet.
        is_blocked = sa.exists().where(
            before.c.projection == table.c.projection,
            before.c.tenant_id == table.c.tenant_id,
            before.c.aggregate_type == table.c.aggregate_type,
            before.c.aggregate_id == table.c.aggregate_id,
            before.c.position < table.c.position,
            # As a literal: a prepared statement with a parameter could not use the partial index.
            before.c.state != sa.literal_column(f"'{_SKIPPED}'"),
            ~before.c.is_due,
        )
        query = (
            sa.select(table)
            .where(
                table.c.projection == projection, table.c.is_due, ~is_blocked, self._is_visible()
            )
            .order_by(table.c.position)
            .limit(limit)
        )
        async with self._connections.read_connection(uow, "read due dead letters") as connection:
            return [_read_letter(row) for row in await connection.execute(query)]

    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Return the dead letters of a page of positions, with all letters of its last position."""
        ensure_page_limit(limit)
        table = self._letters
        conditions = [table.c.position > after, self._is_visible()]
        if projection is not None:
            conditions.append(table.c.projection == projection)
        page = (
            sa.select(table.c.position).where(*conditions).order_by(table.c.position).limit(limit)
        )
        query = (
            sa.select(table)
            # Several projections may have a dead letter at the last position of the page.
            .where(*conditions, table.c.position.in_(page))
            .order_by(table.c.position, table.c.projection)
        )
        async with self._connections.autocommit_connection("read dead letters") as connection:
            return [_read_letter(row) for row in await connection.execute(query)]

    async def count_dead_letters(self) -> Mapping[str, DeadLetterCount]:
        """Count the committed dead letters by one statement, which reads all of them."""
        table = self._letters
        streams = (
            sa.select(
                table.c.projection,
                sa.func.count().label("letters"),
                sa.func.count().filter(table.c.state != _SKIPPED).label("blocking"),
            )
            .where(self._is_visible())
            .group_by(
                table.c.projection,
                table.c.tenant_id,
                table.c.aggregate_type,
                table.c.aggregate_id,
            )
            .subquery()
        )
        query = sa.select(
            streams.c.projection,
            sa.cast(sa.func.sum(streams.c.letters), sa.BigInteger),
            sa.func.count().filter(streams.c.blocking > 0),
        ).group_by(streams.c.projection)
        async with self._connections.autocommit_connection("count dead letters") as connection:
            return {
                projection: DeadLetterCount(dead_letters=letters, blocked_streams=blocked)
                for projection, letters, blocked in await connection.execute(query)
            }

    async def retry(self, projection: str, position: int) -> None:
        """Request a retry of a dead letter, with all failed and waiting events of its stream.

        Raises:
            UnknownDeadLetterError: the table does not have the dead letter.
        """
        table = self._letters
        async with self._connections.new_transaction("retry a dead letter") as new:
            connection = await new.connection()
            query = sa.select(table).where(self._is_at(projection, position), self._is_visible())
            found = (await connection.execute(query)).one_or_none()
            if found is None:
                raise advanced.UnknownDeadLetterError.not_found(projection, position)
            if found.state == _SKIPPED:
                await self._make_due(
                    connection, self._is_at(projection, position) & self._is_visible()
                )
            else:
                # Two statements: the second sees rows that were added while the first waited.
                await self._make_due(connection, self._is_in_stream(found, _POISON))
                await self._make_due(connection, self._is_in_stream(found, _WAITING))

    async def discard(self, projection: str, position: int) -> None:
        """Delete a dead letter; for a poison event set ``is_due`` of the events behind it.

        Raises:
            UnknownDeadLetterError: the table does not have the dead letter.
        """
        table = self._letters
        async with self._connections.new_transaction("discard a dead letter") as new:
            connection = await new.connection()
            is_letter = self._is_at(projection, position) & self._is_visible()
            statement = sa.delete(table).where(is_letter).returning(table)
            found = (await connection.execute(statement)).one_or_none()
            if found is None:
                raise advanced.UnknownDeadLetterError.not_found(projection, position)
            if found.state == _POISON:
                await self._make_due(connection, self._is_in_stream(found, _WAITING))

    async def replace(self, projection: str, by: str, *, uow: UnitOfWork) -> None:
        """Delete the dead letters of a projection and rename the dead letters of ``by``."""
        table, visible = self._letters, self._is_visible()
        if projection == by:
            return
        async with self._connections.join_transaction(uow, "replace dead letters") as active:
            connection = await active.connection()
            await connection.execute(
                sa.delete(table).where(table.c.projection == projection, visible)
            )
            await connection.execute(
                sa.update(table)
                .where(table.c.projection == by, visible)
                .values(projection=projection)
            )

    async def _release_unblocked(
        self, connection: AsyncConnection, projection: str, waiting: Sequence[DeadLetter]
    ) -> None:
        """Set ``is_due`` of events whose poison event has been retried or discarded."""
        places = {_place_of(letter) for letter in waiting}
        blocking = await self._select_streams(connection, "blocking", projection, places)
        if left := [letter for letter in waiting if _place_of(letter) not in blocking]:
            await connection.execute(
                sa.update(self._letters)
                .where(self._is_at(*_KEY_PARAMETERS), self._is_visible())
                .values(is_due=True),
                [
                    {"at_projection": letter.projection, "at_position": letter.position}
                    for letter in left
                ],
            )

    async def _select_streams(
        self,
        connection: AsyncConnection,
        statement: str,
        projection: str,
        streams: Iterable[Place],
    ) -> set[Place]:
        sql: str = _statements(self._letters, driver.is_postgres(connection))._asdict()[statement]
        lists: Sequence[object]
        if driver.is_postgres(connection):
            lists = [list(column) for column in zip(*streams, strict=True)]
        else:
            lists = [to_json(list(streams)).decode()]
        rows = await driver.fetch(connection, sql, projection, *lists)
        return {(row[0], row[1], row[2]) for row in rows}

    async def _make_due(
        self, connection: AsyncConnection, condition: sa.ColumnElement[bool]
    ) -> None:
        await connection.execute(sa.update(self._letters).where(condition).values(is_due=True))

    def _is_visible(self) -> sa.ColumnElement[bool]:
        return is_visible(self._letters.c.tenant_id, tenancy.get_visible_tenant())

    def _is_at(self, projection: object, position: object) -> sa.ColumnElement[bool]:
        table = self._letters
        return (table.c.projection == projection) & (table.c.position == position)

    def _is_in_stream(self, row: sa.Row[Any], state: str) -> sa.ColumnElement[bool]:
        """Return the condition for dead letters of one state in the stream of a row."""
        table = self._letters
        names = ("projection", "tenant_id", "aggregate_type", "aggregate_id")
        same = [table.c[name] == getattr(row, name) for name in names]
        return sa.and_(*same, table.c.state == state)


class _Statements(NamedTuple):
    blocked: str
    blocking: str


@lru_cache(maxsize=64)
def _statements(table: sa.Table, is_postgres: bool) -> _Statements:
    name = driver.quote_table(table, is_postgres)
    if is_postgres:
        of = "letters.projection = $1"
        names = "given(tenant_id, aggregate_type, aggregate_id)"
        streams = f"unnest($2::text[], $3::text[], $4::text[]) AS {names}"
    else:
        of = "letters.projection = ?1"
        streams = (
            "(SELECT json_extract(value, '$[0]') AS tenant_id, "
            "json_extract(value, '$[1]') AS aggregate_type, "
            "json_extract(value, '$[2]') AS aggregate_id FROM json_each(?2)) AS given"
        )
    same = (
        f"{of} AND letters.tenant_id = given.tenant_id "
        "AND letters.aggregate_type = given.aggregate_type "
        "AND letters.aggregate_id = given.aggregate_id"
    )
    return _Statements(
        f"SELECT tenant_id, aggregate_type, aggregate_id FROM {streams} "
        f"WHERE EXISTS (SELECT 1 FROM {name} AS letters WHERE {same} AND state <> 'SKIPPED')",
        # FOR UPDATE: a later retry or discard waits for this transaction.
        "SELECT letters.tenant_id, letters.aggregate_type, letters.aggregate_id "
        f"FROM {streams} JOIN {name} AS letters ON {same} WHERE state = 'POISON' AND NOT is_due"
        + (" FOR UPDATE OF letters" if is_postgres else ""),
    )


def _place_of(letter: DeadLetter) -> Place:
    return letter.tenant_id, *letter.stream


def _sort_key(letter: DeadLetter) -> tuple[str, int]:
    return letter.projection, letter.position


def _to_row(letter: DeadLetter) -> dict[str, object]:
    row = {**vars(letter), **letter.stream._asdict(), "state": letter.state.name}
    del row["stream"]
    if letter.error is not None:
        row["error"] = make_storable(letter.error)
    return row


def _read_letter(row: sa.Row[Any]) -> DeadLetter:
    fields = dict(row._mapping)
    stream = StreamId(fields.pop("aggregate_type"), fields.pop("aggregate_id"))
    return DeadLetter(stream=stream, state=DeadLetterState[fields.pop("state")], **fields)
