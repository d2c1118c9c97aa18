"""Dead letters in a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Row, Table, and_, bindparam, delete, exists, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_advanced_core.exceptions import UnknownDeadLetterError
from cqrs_ddd_advanced_core.ports.dead_letters import (
    DeadLetter,
    DeadLetterState,
    IDeadLetterStore,
)
from cqrs_ddd_advanced_core.spi.checks import ensure_page_limit
from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork

from ..engine.connections import Connections
from ..engine.driver import fetch, is_postgres, upsert_statement
from ..engine.engines import SessionFactory
from ..schema.tables import TABLES, Tables

_SKIPPED, _POISON, _WAITING = (
    each.name for each in (DeadLetterState.SKIPPED, DeadLetterState.POISON, DeadLetterState.WAITING)
)


class SQLAlchemyDeadLetterStore(IDeadLetterStore):
    """The table of dead letters.

    Who adds letters that wait and who asks for a retry meet at the letter that failed: the second
    one waits for the first, or a letter would be left behind that nobody asks for.
    """

    def __init__(self, session_factory: SessionFactory, *, tables: Tables = TABLES) -> None:
        super().__init__()
        self._connections = Connections(session_factory)
        self._letters: Table = tables.advanced.dead_letters

    async def add(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        if not dead_letters:
            return
        table = self._letters
        # In one order for all; and what failed comes before what waits behind it.
        rows = {_place(each): _row_of(each) for each in sorted(dead_letters, key=_place)}
        waiting = [e for e in dead_letters if e.state is DeadLetterState.WAITING and not e.is_due]
        async with self._connections.join_transaction(uow, "add dead letters") as active:
            connection = await active.connection()
            insert = upsert_statement(connection, table)
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
                await self._let_go(connection, projection, ours)

    async def remove(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        if not dead_letters:
            return
        places = [
            {"of": projection, "at": position}
            for projection, position in sorted(map(_place, dead_letters))
        ]
        async with self._connections.join_transaction(uow, "remove dead letters") as active:
            connection = await active.connection()
            await connection.execute(
                delete(self._letters).where(self._is_at(bindparam("of"), bindparam("at"))), places
            )

    async def blocked_streams(
        self,
        projection: str,
        streams: Collection[StreamId],
        *,
        uow: UnitOfWork | None = None,
    ) -> set[StreamId]:
        if not streams:
            return set()
        async with self._connections.read_connection(uow, "read blocked streams") as connection:
            return await self._among(connection, "held", projection, streams)

    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        ensure_page_limit(limit)
        table, before = self._letters, self._letters.alias("before")
        # One that is asked for later than one before it waits for that one.
        is_blocked = exists().where(
            before.c.projection == table.c.projection,
            before.c.aggregate_type == table.c.aggregate_type,
            before.c.aggregate_id == table.c.aggregate_id,
            before.c.position < table.c.position,
            # Not as a parameter, or a prepared statement could not use the index.
            before.c.state != literal_column(f"'{_SKIPPED}'"),
            ~before.c.is_due,
        )
        query = (
            select(table)
            .where(table.c.projection == projection, table.c.is_due, ~is_blocked)
            .order_by(table.c.position)
            .limit(limit)
        )
        async with self._connections.read_connection(uow, "read due dead letters") as connection:
            return [_letter_of(row) for row in await connection.execute(query)]

    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        ensure_page_limit(limit)
        table = self._letters
        conditions = [table.c.position > after]
        if projection is not None:
            conditions.append(table.c.projection == projection)
        page = select(table.c.position).where(*conditions).order_by(table.c.position).limit(limit)
        query = (
            select(table)
            # Of several projections some may have a letter at the last position of the page.
            .where(*conditions, table.c.position.in_(page))
            .order_by(table.c.position, table.c.projection)
        )
        async with self._connections.autocommit_connection("read dead letters") as connection:
            return [_letter_of(row) for row in await connection.execute(query)]

    async def retry(self, projection: str, position: int) -> None:
        table = self._letters
        async with self._connections.new_transaction("retry a dead letter") as new:
            connection = await new.connection()
            query = select(table).where(self._is_at(projection, position))
            found = (await connection.execute(query)).one_or_none()
            if found is None:
                raise UnknownDeadLetterError.not_found(projection, position)
            if found.state == _SKIPPED:
                await self._make_due(connection, self._is_at(projection, position))
            else:
                # Two statements: the second sees what was added while the first one waited.
                await self._make_due(connection, self._is_of(found, _POISON))
                await self._make_due(connection, self._is_of(found, _WAITING))

    async def discard(self, projection: str, position: int) -> None:
        table = self._letters
        async with self._connections.new_transaction("discard a dead letter") as new:
            connection = await new.connection()
            statement = delete(table).where(self._is_at(projection, position)).returning(table)
            found = (await connection.execute(statement)).one_or_none()
            if found is None:
                raise UnknownDeadLetterError.not_found(projection, position)
            if found.state == _POISON:
                await self._make_due(connection, self._is_of(found, _WAITING))

    async def replace(self, projection: str, by: str, *, uow: UnitOfWork) -> None:
        table = self._letters
        if projection == by:
            return
        async with self._connections.join_transaction(uow, "replace dead letters") as active:
            connection = await active.connection()
            await connection.execute(delete(table).where(table.c.projection == projection))
            await connection.execute(
                update(table).where(table.c.projection == by).values(projection=projection)
            )

    async def _let_go(
        self, connection: AsyncConnection, projection: str, waiting: Sequence[DeadLetter]
    ) -> None:
        """Make due what waits behind nothing: the retry or the discard came before it."""
        streams = {letter.stream for letter in waiting}
        holding = await self._among(connection, "holding", projection, streams)
        if left := [letter for letter in waiting if letter.stream not in holding]:
            await connection.execute(
                update(self._letters)
                .where(self._is_at(bindparam("of"), bindparam("at")))
                .values(is_due=True),
                [{"of": letter.projection, "at": letter.position} for letter in left],
            )

    async def _among(
        self,
        connection: AsyncConnection,
        statement: str,
        projection: str,
        streams: Iterable[StreamId],
    ) -> set[StreamId]:
        sql: str = _statements(self._letters, is_postgres(connection))._asdict()[statement]
        given: Sequence[Any]
        if is_postgres(connection):
            given = [list(column) for column in zip(*streams, strict=True)]
        else:
            given = [to_json(list(streams)).decode()]
        rows = await fetch(connection, sql, projection, *given)
        return {StreamId(*row) for row in rows}

    async def _make_due(self, connection: AsyncConnection, condition: Any) -> None:
        await connection.execute(update(self._letters).where(condition).values(is_due=True))

    def _is_at(self, projection: Any, position: Any) -> Any:
        table = self._letters
        return (table.c.projection == projection) & (table.c.position == position)

    def _is_of(self, row: Row[Any], state: str) -> Any:
        """In the stream of the row."""
        table = self._letters
        names = ("projection", "aggregate_type", "aggregate_id")
        same = [table.c[name] == getattr(row, name) for name in names]
        return and_(*same, table.c.state == state)


class _Statements(NamedTuple):
    held: str
    holding: str


@lru_cache(maxsize=64)
def _statements(table: Table, is_postgres: bool) -> _Statements:
    dialect = postgresql.dialect() if is_postgres else sqlite.dialect()  # type: ignore[no-untyped-call]
    name = dialect.identifier_preparer.format_table(table)
    if is_postgres:
        of = "letters.projection = $1"
        streams = "unnest($2::text[], $3::text[]) AS given(aggregate_type, aggregate_id)"
    else:
        of = "letters.projection = ?1"
        streams = (
            "(SELECT json_extract(value, '$[0]') AS aggregate_type, "
            "json_extract(value, '$[1]') AS aggregate_id FROM json_each(?2)) AS given"
        )
    same = (
        f"{of} AND letters.aggregate_type = given.aggregate_type "
        "AND letters.aggregate_id = given.aggregate_id"
    )
    return _Statements(
        f"SELECT aggregate_type, aggregate_id FROM {streams} "
        f"WHERE EXISTS (SELECT 1 FROM {name} AS letters WHERE {same} AND state <> 'SKIPPED')",
        # Locks what it finds: a retry or a discard that comes now waits for this transaction.
        "SELECT letters.aggregate_type, letters.aggregate_id "
        f"FROM {streams} JOIN {name} AS letters ON {same} WHERE state = 'POISON' AND NOT is_due"
        + (" FOR UPDATE OF letters" if is_postgres else ""),
    )


def _place(letter: DeadLetter) -> tuple[str, int]:
    return letter.projection, letter.position


def _row_of(letter: DeadLetter) -> dict[str, object]:
    return {
        "projection": letter.projection,
        "position": letter.position,
        "aggregate_type": letter.stream.aggregate_type,
        "aggregate_id": letter.stream.aggregate_id,
        "event_id": letter.event_id,
        "event_type": letter.event_type,
        "state": letter.state.name,
        "error": None if letter.error is None else _writable(letter.error),
        "attempts": letter.attempts,
        "recorded_at": letter.recorded_at,
        "is_due": letter.is_due,
    }


def _writable(text: str) -> str:
    """What no database takes as text must not keep an event from being set aside."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _letter_of(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        projection=row.projection,
        position=row.position,
        stream=StreamId(row.aggregate_type, row.aggregate_id),
        event_id=row.event_id,
        event_type=row.event_type,
        state=DeadLetterState[row.state],
        error=row.error,
        attempts=row.attempts,
        recorded_at=row.recorded_at,
        is_due=row.is_due,
    )
