"""Outbox in a table of messages, with a table of leased keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cqrs_ddd_core import ILeasedOutbox, OutboxBacklog, OutboxLease, OutboxMessage, UnitOfWork
from cqrs_ddd_core.primitives import exceptions, storable
from cqrs_ddd_core.spi import tenancy
from cqrs_ddd_core.spi.checks import ensure_usable_claim

from ..engine import AsyncConnection, Connections, SessionFactory, SQLAlchemyTransaction, driver
from ..schema.tables import TABLES, Tables
from ..schema.tenants import delete_old, is_visible
from . import claims, message_rows, statements

_ROWS_A_STATEMENT = 80
"""Limit on SQLite, where old builds take 999 values in a statement."""


class SQLAlchemyOutboxStorage(ILeasedOutbox):
    """Outbox in a table; leases begin and end in their own transactions.

    A partition key has a row among the leases while it is leased, delayed or blocked by a dead
    letter. Times come from the database, so the clocks of relays may differ.

    Args:
        session_factory: creates a transaction for calls outside a unit of work.
        tables: tables of the toolkit.
        uow: unit of work that calls without ``uow`` join.
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
        """Insert messages by one statement (on SQLite one for each 80 messages).

        Raises:
            InvalidOperationError: the id of a message is already saved.
        """
        tenant_id = tenancy.get_row_tenant("save messages")
        rows = [message_rows.to_row(message, tenant_id) for message in messages]
        if not rows:
            return
        async with self._connections.join_transaction(uow, "save messages") as active:
            saved = await self._insert(await active.driver_connection(), rows)
            missing = [message.message_id for message in messages]
            for (message_id,) in saved:
                missing.remove(message_id)
            if missing:
                raise exceptions.InvalidOperationError.already_in_outbox(missing[0])

    async def get_pending(
        self, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[OutboxMessage]:
        """Return the oldest unpublished messages, without keys that a dead letter blocks."""
        outbox, leases = self._outbox, self._leases
        is_dead = leases.c.dead_letter_id.is_not(None)
        blocked = sa.exists().where(statements.is_same_key(self._tables), is_dead)
        visible = is_visible(outbox.c.tenant_id, tenancy.get_visible_tenant())
        pending = (
            self._select_messages()
            .where(outbox.c.published_at.is_(None), visible, ~blocked)
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        async with self._connections.read_connection(uow, "read pending messages") as connection:
            return [message_rows.read_message(row) for row in await connection.execute(pending)]

    async def mark_published(self, message_ids: list[str], uow: UnitOfWork | None = None) -> None:
        """Set the time of publication by the clock of the database, and unblock the keys."""
        leases, tenant_id = self._leases, tenancy.get_row_tenant("mark messages as published")
        async with self._connections.join_transaction(uow, "mark messages as published") as active:
            connection = await active.connection()
            await self._publish(connection, tenant_id, message_ids)
            await connection.execute(
                sa.delete(leases).where(
                    leases.c.dead_letter_id.in_(message_ids), leases.c.tenant_id == tenant_id
                )
            )

    async def mark_failed(self, message_id: str, error: str, uow: UnitOfWork | None = None) -> None:
        """Count a failed try and store its error."""
        tenant_id = tenancy.get_row_tenant("mark a message as failed")
        async with self._connections.join_transaction(uow, "mark a message as failed") as active:
            connection = await active.connection()
            await self._count_try(connection, tenant_id, message_id, error)

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        """Lease the free keys with the oldest messages; skip rows that other relays lock.

        Return the leases with their messages.

        Args:
            relay_id: name of the relay, for operators.
            limit: largest number of messages to claim.
            lease: seconds until the leases expire.
        """
        ensure_usable_claim(limit, lease)
        async with self._connections.new_transaction("claim messages") as new:
            connection = await _relay_connection(new)
            return await self._claim(connection, relay_id, limit, lease)

    async def complete(self, lease: OutboxLease, message_ids: Sequence[str]) -> None:
        """Mark messages as published and end the lease, after locking both.

        Raises:
            LeaseLostError: the lease has expired, or another relay holds the key.
        """
        async with self._connections.new_transaction("mark messages as published") as new:
            connection = await new.connection()
            await self._lock_lease(connection, lease, message_ids)
            await self._publish(connection, lease.tenant_id, message_ids)

    async def complete_batch(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        """Mark messages as published and end their leases, by one statement on PostgreSQL.

        Return the leases that were lost; their messages stay unpublished.
        """
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
        """Complete leases and claim the next leases in one transaction.

        Return the leases that were lost, and the new leases.

        Args:
            published: leases with the ids of their published messages.
            relay_id: name of the relay, for operators.
            limit: largest number of messages to claim.
            lease: seconds until the new leases expire.
        """
        ensure_usable_claim(limit, lease)
        operation = "mark messages as published and claim the next"
        async with self._connections.new_transaction(operation) as new:
            connection = await _relay_connection(new)
            lost = await self._complete(connection, published)
            next_leases = await self._claim(connection, relay_id, limit, lease)
        return lost, next_leases

    async def fail(
        self, lease: OutboxLease, message_id: str, error: str, *, retry_at: datetime | None
    ) -> None:
        """Count a failed try, and delay the key or block it by a dead letter.

        Args:
            lease: lease of the key.
            message_id: id of the message.
            error: text of the failure, for operators.
            retry_at: time of the next try; None makes the message a dead letter.

        Raises:
            LeaseLostError: the lease has expired, or another relay holds the key.
        """
        leases = self._leases
        async with self._connections.new_transaction("delay a message") as new:
            connection = await new.connection()
            await self._lock_lease(connection, lease, [message_id])
            await self._count_try(connection, lease.tenant_id, message_id, error)
            dead_letter = message_id if retry_at is None else None
            await connection.execute(
                sa.update(leases)
                .where(leases.c.epoch == lease.epoch, leases.c.tenant_id == lease.tenant_id)
                .values(leased_until=None, due=retry_at, dead_letter_id=dead_letter)
            )

    async def release(self, lease: OutboxLease, *, retry_at: datetime | None = None) -> None:
        """Delete the row of the lease, or delay its key, unless the lease is lost.

        Args:
            lease: lease of the key.
            retry_at: time until which the key is blocked; None frees it.
        """
        leases = self._leases
        if not _is_visible(lease):
            return
        async with self._connections.new_transaction("release a key") as new:
            connection = await new.connection()
            change: sa.Delete | sa.Update = sa.delete(leases)
            if retry_at is not None:
                change = sa.update(leases).values(leased_until=None, due=retry_at)
            await connection.execute(
                change.where(
                    leases.c.epoch == lease.epoch,
                    leases.c.tenant_id == lease.tenant_id,
                    leases.c.leased_until.is_not(None),
                )
            )

    async def get_backlog(self) -> OutboxBacklog:
        """Count the unpublished messages by one statement, which reads no published message."""
        async with self._connections.autocommit_connection("count messages") as connection:
            now, tenant_id = driver.get_database_time(connection), tenancy.get_visible_tenant()
            query = statements.select_backlog(self._tables, now, tenant_id)
            found = (await connection.execute(query)).one()
        return OutboxBacklog(**found._mapping)

    async def list_dead_letters(self, limit: int = 100) -> list[OutboxMessage]:
        """Return the oldest dead letters, joined through the keys that they block."""
        outbox, leases = self._outbox, self._leases
        is_dead = leases.c.dead_letter_id == outbox.c.message_id
        dead_letters = (
            self._select_messages()
            .join(leases, is_dead & (leases.c.tenant_id == outbox.c.tenant_id))
            .where(is_visible(outbox.c.tenant_id, tenancy.get_visible_tenant()))
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        async with self._connections.new_transaction("read dead letters") as new:
            connection = await new.connection()
            return [
                message_rows.read_message(row) for row in await connection.execute(dead_letters)
            ]

    async def retry(self, message_id: str) -> None:
        """Unblock the key of a dead letter and reset its count of tries.

        Raises:
            InvalidOperationError: the message is not a dead letter.
        """
        tenant_id = tenancy.get_row_tenant("retry a message")
        async with self._connections.new_transaction("retry a message") as new:
            connection = await new.connection()
            await self._unblock_key(connection, tenant_id, message_id)
            is_message = self._is_among(tenant_id, [message_id])
            await connection.execute(
                sa.update(self._outbox).where(is_message).values(retry_count=0)
            )

    async def discard(self, message_id: str) -> None:
        """Unblock the key of a dead letter and delete the message.

        Raises:
            InvalidOperationError: the message is not a dead letter.
        """
        tenant_id = tenancy.get_row_tenant("discard a message")
        async with self._connections.new_transaction("discard a message") as new:
            connection = await new.connection()
            await self._unblock_key(connection, tenant_id, message_id)
            is_message = self._is_among(tenant_id, [message_id])
            await connection.execute(sa.delete(self._outbox).where(is_message))

    async def purge(self, published_before: datetime, *, limit: int = 1000) -> int:
        """Delete at most ``limit`` messages published earlier, the oldest first.

        Return their number. Rows that another purge has locked are skipped.
        """
        statement = delete_old(
            self._outbox.c.published_at,
            published_before,
            tenant_id=tenancy.get_visible_tenant(),
            limit=limit,
        )
        async with self._connections.new_transaction("purge messages") as new:
            connection = await new.connection()
            return len((await connection.execute(statement)).all())

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

    async def _claim(
        self, connection: AsyncConnection, relay_id: str, limit: int, lease: float
    ) -> list[OutboxLease]:
        return await claims.claim_leases(
            connection,
            self._tables,
            relay_id,
            limit=limit,
            lease=lease,
            tenant_id=tenancy.get_visible_tenant(),
        )

    async def _complete(
        self, connection: AsyncConnection, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        """Mark the messages as published, and return the leases that were lost."""
        own = [(lease, message_ids) for lease, message_ids in published if _is_visible(lease)]
        held = await self._complete_held(connection, own) if own else set()
        return [lease for lease, _ in published if lease.epoch not in held]

    async def _complete_held(
        self, connection: AsyncConnection, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> set[int]:
        """Mark the messages of valid leases and end them; return their epochs."""
        leases = self._leases
        if driver.is_postgres(connection):
            epochs = [lease.epoch for lease, _ in published]
            owners = [lease.tenant_id for lease, message_ids in published for _ in message_ids]
            ids = [message_id for _, message_ids in published for message_id in message_ids]
            sql = statements.outbox_statements(self._tables).complete
            return {row[0] for row in await driver.fetch(connection, sql, epochs, owners, ids)}
        held = set(await self._select_held(connection, [lease for lease, _ in published]))
        kept: dict[str, list[str]] = {}
        for lease, message_ids in published:
            if lease.epoch in held:
                kept.setdefault(lease.tenant_id, []).extend(message_ids)
        for tenant_id, own in kept.items():
            await self._publish(connection, tenant_id, own)
        await connection.execute(sa.delete(leases).where(leases.c.epoch.in_(held)))
        return held

    async def _lock_lease(
        self, connection: AsyncConnection, lease: OutboxLease, message_ids: Sequence[str]
    ) -> None:
        """Lock the messages and the lease.

        Raises:
            LeaseLostError: the lease has expired, or another relay holds the key.
        """
        outbox = self._outbox
        messages = sa.select(outbox.c.seq).where(self._is_among(lease.tenant_id, message_ids))
        is_held = False
        if _is_visible(lease):
            # Messages before leases, as in a claim: another order could deadlock with it.
            await connection.execute(messages.order_by(outbox.c.seq).with_for_update())
            is_held = bool(await self._select_held(connection, [lease]))
        if not is_held:
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

    async def _publish(
        self, connection: AsyncConnection, tenant_id: str, message_ids: Sequence[str]
    ) -> None:
        await connection.execute(
            sa.update(self._outbox)
            .where(self._is_among(tenant_id, message_ids), self._outbox.c.published_at.is_(None))
            .values(published_at=driver.get_database_time(connection), error=None)
        )

    async def _count_try(
        self, connection: AsyncConnection, tenant_id: str, message_id: str, error: str
    ) -> None:
        await connection.execute(
            sa.update(self._outbox)
            .where(self._is_among(tenant_id, [message_id]))
            .values(retry_count=self._outbox.c.retry_count + 1, error=storable.make_storable(error))
        )

    async def _unblock_key(
        self, connection: AsyncConnection, tenant_id: str, message_id: str
    ) -> None:
        leases = self._leases
        is_dead = (leases.c.dead_letter_id == message_id) & (leases.c.tenant_id == tenant_id)
        result = await connection.execute(sa.delete(leases).where(is_dead))
        if not result.rowcount:
            raise exceptions.InvalidOperationError.not_dead_lettered(message_id)

    def _is_among(self, tenant_id: str, message_ids: Sequence[str]) -> sa.ColumnElement[bool]:
        outbox = self._outbox
        return outbox.c.message_id.in_(message_ids) & (outbox.c.tenant_id == tenant_id)


def _is_visible(lease: OutboxLease) -> bool:
    return tenancy.get_visible_tenant() in (None, lease.tenant_id)


async def _relay_connection(transaction: SQLAlchemyTransaction) -> AsyncConnection:
    """Return the connection; on PostgreSQL for statements sent directly to the driver."""
    connection = await transaction.driver_connection()
    return connection if driver.is_postgres(connection) else await transaction.connection()
