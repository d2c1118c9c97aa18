"""Messages in a table, and leases of their keys in another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cqrs_ddd_core import ILeasedOutbox, OutboxLease, OutboxMessage, UnitOfWork
from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.spi.checks import ensure_usable_claim

from ..engine import AsyncConnection, Connections, SessionFactory, SQLAlchemyTransaction, driver
from ..schema.tables import TABLES, Tables
from . import claims, message_rows, statements

_ROWS_A_STATEMENT = 80
"""Old builds of SQLite take 999 values in a statement."""


class SQLAlchemyOutboxStorage(ILeasedOutbox):
    """Outbox in a table, whose leases begin and end in transactions of their own.

    A key has a row among the leases while it is leased, delayed or blocked by a dead letter. Times
    are those of the database, so the clocks of relays may differ.

    Args:
        session_factory: makes a transaction where no unit of work is given or current.
        tables: the tables of the toolkit.
        uow: unit of work that all calls without one join.
    """

    def __init__(
        self,
        session_factory: SessionFactory | None = None,
        *,
        tables: Tables = TABLES,
        uow: UnitOfWork | None = None,
    ) -> None:
        self._connections = Connections(session_factory, exceptions.OutboxError, uow)
        self._tables = tables
        self._outbox = tables.outbox
        self._leases = tables.outbox_leases

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        rows = [message_rows.to_row(message) for message in messages]
        if not rows:
            return
        async with self._connections.join_transaction(uow, "save messages") as active:
            saved = await self._insert(await active.driver_connection(), rows)
            missing = [message.message_id for message in messages]
            for (message_id,) in saved:
                missing.remove(message_id)
            if missing:
                raise exceptions.OutboxError.already_saved(missing[0])

    async def get_pending(
        self, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[OutboxMessage]:
        outbox, leases = self._outbox, self._leases
        blocked = sa.select(leases.c.lease_key).where(leases.c.parked_message_id.is_not(None))
        pending = (
            self._select_messages()
            .where(outbox.c.published_at.is_(None), outbox.c.lease_key.not_in(blocked))
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        async with self._connections.read_connection(uow, "read pending messages") as connection:
            return [message_rows.read_message(row) for row in await connection.execute(pending)]

    async def mark_published(self, message_ids: list[str], uow: UnitOfWork | None = None) -> None:
        leases = self._leases
        async with self._connections.join_transaction(uow, "mark messages as published") as active:
            connection = await active.connection()
            await self._publish(connection, message_ids)
            await connection.execute(
                sa.delete(leases).where(leases.c.parked_message_id.in_(message_ids))
            )

    async def mark_failed(self, message_id: str, error: str, uow: UnitOfWork | None = None) -> None:
        async with self._connections.join_transaction(uow, "mark a message as failed") as active:
            connection = await active.connection()
            await self._count_try(connection, message_id, error)

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        ensure_usable_claim(limit, lease)
        async with self._connections.new_transaction("claim messages") as new:
            connection = await _relay_connection(new)
            return await claims.claim_leases(
                connection, self._tables, relay_id, limit=limit, lease=lease
            )

    async def complete(self, lease: OutboxLease, message_ids: Sequence[str]) -> None:
        async with self._connections.new_transaction("mark messages as published") as new:
            connection = await new.connection()
            await self._lock_lease(connection, lease, message_ids)
            await self._publish(connection, message_ids)

    async def complete_batch(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        async with self._connections.new_transaction("mark messages as published") as new:
            connection = await _relay_connection(new)
            return await self._complete(connection, published)

    async def complete_and_claim(
        self,
        published: Sequence[tuple[OutboxLease, Sequence[str]]],
        relay_id: str,
        *,
        limit: int = 100,
        lease: float = 30.0,
    ) -> tuple[list[OutboxLease], list[OutboxLease]]:
        ensure_usable_claim(limit, lease)
        operation = "mark messages as published and claim the next"
        async with self._connections.new_transaction(operation) as new:
            connection = await _relay_connection(new)
            lost = await self._complete(connection, published)
            next_leases = await claims.claim_leases(
                connection, self._tables, relay_id, limit=limit, lease=lease
            )
        return lost, next_leases

    async def fail(
        self, lease: OutboxLease, message_id: str, error: str, *, retry_at: datetime | None
    ) -> None:
        leases = self._leases
        async with self._connections.new_transaction("delay a message") as new:
            connection = await new.connection()
            await self._lock_lease(connection, lease, [message_id])
            await self._count_try(connection, message_id, error)
            dead_letter = message_id if retry_at is None else None
            await connection.execute(
                sa.update(leases)
                .where(leases.c.epoch == lease.epoch)
                .values(leased_until=None, due=retry_at, parked_message_id=dead_letter)
            )

    async def release(self, lease: OutboxLease) -> None:
        leases = self._leases
        async with self._connections.new_transaction("release a key") as new:
            connection = await new.connection()
            await connection.execute(
                sa.delete(leases).where(
                    leases.c.epoch == lease.epoch, leases.c.leased_until.is_not(None)
                )
            )

    async def list_dead_letters(self, limit: int = 100) -> list[OutboxMessage]:
        outbox, leases = self._outbox, self._leases
        dead_letters = (
            self._select_messages()
            .join(leases, leases.c.parked_message_id == outbox.c.message_id)
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        async with self._connections.new_transaction("read dead letters") as new:
            connection = await new.connection()
            return [
                message_rows.read_message(row) for row in await connection.execute(dead_letters)
            ]

    async def retry(self, message_id: str) -> None:
        outbox = self._outbox
        async with self._connections.new_transaction("retry a message") as new:
            connection = await new.connection()
            await self._unpark(connection, message_id)
            await connection.execute(
                sa.update(outbox).where(outbox.c.message_id == message_id).values(retry_count=0)
            )

    async def discard(self, message_id: str) -> None:
        outbox = self._outbox
        async with self._connections.new_transaction("discard a message") as new:
            connection = await new.connection()
            await self._unpark(connection, message_id)
            await connection.execute(sa.delete(outbox).where(outbox.c.message_id == message_id))

    async def purge(self, published_before: datetime, *, limit: int = 1000) -> int:
        outbox = self._outbox
        old = (
            sa.select(outbox.c.seq)
            .where(outbox.c.published_at < published_before)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._connections.new_transaction("purge messages") as new:
            connection = await new.connection()
            result = await connection.execute(sa.delete(outbox).where(outbox.c.seq.in_(old)))
            return result.rowcount

    async def _insert(
        self, connection: AsyncConnection, rows: Sequence[message_rows.Row]
    ) -> Sequence[Any]:
        """Insert the rows, and return the ids that were new."""
        if driver.is_postgres(connection):
            columns = [list(column) for column in zip(*rows, strict=True)]
            return await driver.fetch(connection, statements.insert_arrays(self._tables), *columns)
        saved: list[Any] = []
        for start in range(0, len(rows), _ROWS_A_STATEMENT):
            part = rows[start : start + _ROWS_A_STATEMENT]
            values = [value for row in part for value in message_rows.to_sqlite_row(row)]
            saved += await driver.fetch(
                connection, statements.insert_values(self._tables, len(part)), *values
            )
        return saved

    def _select_messages(self) -> sa.Select[Any]:
        return sa.select(*(column for column in self._outbox.c if column.name != "seq"))

    async def _complete(
        self, connection: AsyncConnection, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        """Mark the messages as published, and return the leases that were lost."""
        leases = self._leases
        if driver.is_postgres(connection):
            epochs = [lease.epoch for lease, _ in published]
            ids = [message_id for _, message_ids in published for message_id in message_ids]
            sql = statements.outbox_statements(self._tables)
            held = {row[0] for row in await driver.fetch(connection, sql.complete, epochs, ids)}
        else:
            held = set(await self._select_held(connection, [lease for lease, _ in published]))
            kept = [message_ids for lease, message_ids in published if lease.epoch in held]
            await self._publish(connection, [i for message_ids in kept for i in message_ids])
            await connection.execute(sa.delete(leases).where(leases.c.epoch.in_(held)))
        return [lease for lease, _ in published if lease.epoch not in held]

    async def _lock_lease(
        self, connection: AsyncConnection, lease: OutboxLease, message_ids: Sequence[str]
    ) -> None:
        """Lock the messages and the lease, raising ``LeaseLostError`` if it has ended."""
        outbox = self._outbox
        messages = sa.select(outbox.c.seq).where(outbox.c.message_id.in_(message_ids))
        # Messages before leases, as a claim does, or the two could wait for each other.
        await connection.execute(messages.order_by(outbox.c.seq).with_for_update())
        if not await self._select_held(connection, [lease]):
            raise exceptions.LeaseLostError.lease_ended("outbox key", lease.key, lease.epoch)

    async def _select_held(
        self, connection: AsyncConnection, given: Sequence[OutboxLease]
    ) -> list[int]:
        """Return the epochs of valid leases, and lock their rows until the transaction ends."""
        leases = self._leases
        held = (
            sa.select(leases.c.epoch)
            .where(
                leases.c.epoch.in_([lease.epoch for lease in given]),
                leases.c.leased_until > driver.get_database_time(connection),
            )
            .with_for_update()
        )
        return list(await connection.scalars(held))

    async def _publish(self, connection: AsyncConnection, message_ids: Sequence[str]) -> None:
        outbox = self._outbox
        await connection.execute(
            sa.update(outbox)
            .where(outbox.c.message_id.in_(message_ids), outbox.c.published_at.is_(None))
            .values(published_at=driver.get_database_time(connection), error=None)
        )

    async def _count_try(self, connection: AsyncConnection, message_id: str, error: str) -> None:
        outbox = self._outbox
        await connection.execute(
            sa.update(outbox)
            .where(outbox.c.message_id == message_id)
            .values(retry_count=outbox.c.retry_count + 1, error=error)
        )

    async def _unpark(self, connection: AsyncConnection, message_id: str) -> None:
        leases = self._leases
        result = await connection.execute(
            sa.delete(leases).where(leases.c.parked_message_id == message_id)
        )
        if not result.rowcount:
            raise exceptions.OutboxError.not_dead_lettered(message_id)


async def _relay_connection(transaction: SQLAlchemyTransaction) -> AsyncConnection:
    """Return the connection; on PostgreSQL for statements that go straight to the driver."""
    connection = await transaction.driver_connection()
    return connection if driver.is_postgres(connection) else await transaction.connection()
