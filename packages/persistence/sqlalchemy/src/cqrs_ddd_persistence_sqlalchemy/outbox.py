"""Messages in a table, and leases of their keys in another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Row, Select, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.adapters.refusals import (
    json_of,
    lease_key_of,
    lease_over,
    message_not_parked,
    message_saved_already,
    refuse_unusable_claim,
)
from cqrs_ddd_core.ports.outbox import ILeasedOutbox, OutboxLease, OutboxMessage
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, OutboxError

from .driver import fetch, inserting, is_postgres, translated
from .engines import SessionFactory
from .joining import joined, reading
from .models import TABLES, Tables
from .outbox_sql import outbox_statements
from .unit_of_work import SQLAlchemyUnitOfWork


class SQLAlchemyOutboxStorage(ILeasedOutbox):
    """The outbox table. Leases are given and ended at once, in transactions of their own.

    A key has a row among the leases while it is leased, held back or parked. Times are the
    database's, so relays on machines with different clocks agree.
    """

    def __init__(
        self,
        session_factory: SessionFactory | None = None,
        *,
        tables: Tables = TABLES,
        uow: UnitOfWork | None = None,
    ) -> None:
        self._session_factory = session_factory
        self._tables = tables
        self._outbox = tables.outbox
        self._leases = tables.outbox_leases
        self._uow = uow

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        rows = [_row(message) for message in messages]
        if not rows:
            return
        outbox = self._outbox
        async with self._joined(uow, "save messages") as connection:
            insert = inserting(connection, outbox).on_conflict_do_nothing()
            saved = await connection.scalars(insert.returning(outbox.c.message_id), rows)
            missing = [message.message_id for message in messages]
            for message_id in saved:
                missing.remove(message_id)
            if missing:
                raise message_saved_already(missing[0])

    async def get_pending(
        self, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[OutboxMessage]:
        outbox, leases = self._outbox, self._leases
        parked = select(leases.c.lease_key).where(leases.c.parked_message_id.is_not(None))
        pending = (
            self._messages()
            .where(outbox.c.published_at.is_(None), outbox.c.lease_key.not_in(parked))
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        async with self._reading(uow, "read pending messages") as connection:
            return [_message(row) for row in await connection.execute(pending)]

    async def mark_published(self, message_ids: list[str], uow: UnitOfWork | None = None) -> None:
        leases = self._leases
        async with self._joined(uow, "mark messages as published") as connection:
            await self._publish(connection, message_ids)
            await connection.execute(
                delete(leases).where(leases.c.parked_message_id.in_(message_ids))
            )

    async def mark_failed(self, message_id: str, error: str, uow: UnitOfWork | None = None) -> None:
        async with self._joined(uow, "mark a message as failed") as connection:
            await self._count_try(connection, message_id, error)

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        refuse_unusable_claim(limit, lease)
        # Two statements: what another relay published before its lease ended is seen by the second,
        # and was not when the first one chose the keys.
        async with self._own("claim messages") as connection:
            if is_postgres(connection):
                sql = outbox_statements(self._tables)
                span = timedelta(seconds=lease)
                granted = await fetch(connection, sql.lease, limit, relay_id, span)
            else:
                granted = await self._lease_on_sqlite(connection, relay_id, limit, lease)
            epochs: dict[str, int] = {row[0]: row[1] for row in granted}
            found = await self._waiting(connection, list(epochs), limit) if epochs else {}
            if empty := [epoch for key, epoch in epochs.items() if key not in found]:
                leases = self._leases
                await connection.execute(delete(leases).where(leases.c.epoch.in_(empty)))
        return [OutboxLease(key, epochs[key], messages) for key, messages in found.items()]

    async def _lease_on_sqlite(
        self, connection: AsyncConnection, relay_id: str, limit: int, lease: float
    ) -> Sequence[Any]:
        leases, now = self._leases, _now(connection)
        due = await connection.scalars(self._due(now).limit(limit))
        keys = list(dict.fromkeys(due))
        if not keys:
            return ()  # Without the write lock, which only the first change takes.
        await connection.execute(
            delete(leases).where(leases.c.lease_key.in_(keys), ~self._is_blocked(now))
        )
        insert = (
            inserting(connection, leases)
            .on_conflict_do_nothing()
            .returning(leases.c.lease_key, leases.c.epoch)
        )
        until = now + timedelta(seconds=lease)
        rows = [{"lease_key": k, "relay_id": relay_id, "leased_until": until} for k in keys]
        return (await connection.execute(insert, rows)).all()

    async def complete(self, lease: OutboxLease, message_ids: Sequence[str]) -> None:
        async with self._own("mark messages as published") as connection:
            await self._lock(connection, message_ids)
            if not await self._held(connection, [lease]):
                raise lease_over(lease)
            await self._publish(connection, message_ids)

    async def complete_batch(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        leases = self._leases
        async with self._own("mark messages as published") as connection:
            if is_postgres(connection):
                epochs = [lease.epoch for lease, _ in published]
                ids = [message_id for _, message_ids in published for message_id in message_ids]
                sql = outbox_statements(self._tables)
                held = {row[0] for row in await fetch(connection, sql.complete, epochs, ids)}
            else:
                held = set(await self._held(connection, [lease for lease, _ in published]))
                ids = [
                    i
                    for lease, message_ids in published
                    if lease.epoch in held
                    for i in message_ids
                ]
                await self._publish(connection, ids)
                await connection.execute(delete(leases).where(leases.c.epoch.in_(held)))
        return [lease for lease, _ in published if lease.epoch not in held]

    async def fail(
        self, lease: OutboxLease, message_id: str, error: str, *, retry_at: datetime | None
    ) -> None:
        leases = self._leases
        async with self._own("hold a message back") as connection:
            await self._lock(connection, [message_id])
            if not await self._held(connection, [lease]):
                raise lease_over(lease)
            await self._count_try(connection, message_id, error)
            parked = message_id if retry_at is None else None
            await connection.execute(
                update(leases)
                .where(leases.c.epoch == lease.epoch)
                .values(leased_until=None, due=retry_at, parked_message_id=parked)
            )

    async def release(self, lease: OutboxLease) -> None:
        leases = self._leases
        async with self._own("release a key") as connection:
            await connection.execute(
                delete(leases).where(
                    leases.c.epoch == lease.epoch, leases.c.leased_until.is_not(None)
                )
            )

    async def parked(self, limit: int = 100) -> list[OutboxMessage]:
        outbox, leases = self._outbox, self._leases
        parked = (
            self._messages()
            .join(leases, leases.c.parked_message_id == outbox.c.message_id)
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        async with self._own("read parked messages") as connection:
            return [_message(row) for row in await connection.execute(parked)]

    async def retry(self, message_id: str) -> None:
        outbox = self._outbox
        async with self._own("retry a message") as connection:
            await self._unpark(connection, message_id)
            await connection.execute(
                update(outbox).where(outbox.c.message_id == message_id).values(retry_count=0)
            )

    async def discard(self, message_id: str) -> None:
        outbox = self._outbox
        async with self._own("discard a message") as connection:
            await self._unpark(connection, message_id)
            await connection.execute(delete(outbox).where(outbox.c.message_id == message_id))

    async def purge(self, published_before: datetime, *, limit: int = 1000) -> int:
        outbox = self._outbox
        old = (
            select(outbox.c.seq)
            .where(outbox.c.published_at < published_before)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._own("purge messages") as connection:
            result = await connection.execute(delete(outbox).where(outbox.c.seq.in_(old)))
            return result.rowcount

    @asynccontextmanager
    async def _joined(
        self, uow: UnitOfWork | None, operation: str
    ) -> AsyncIterator[AsyncConnection]:
        async with joined(uow or self._uow, self._session_factory, operation) as active:
            with translated(OutboxError, operation):
                yield await active.connection()

    @asynccontextmanager
    async def _reading(
        self, uow: UnitOfWork | None, operation: str
    ) -> AsyncIterator[AsyncConnection]:
        with translated(OutboxError, operation):
            async with reading(uow or self._uow, self._session_factory, operation) as connection:
                yield connection

    @asynccontextmanager
    async def _own(self, operation: str) -> AsyncIterator[AsyncConnection]:
        if self._session_factory is None:
            raise InvalidOperationError(
                f"cannot {operation}: it happens in a transaction of its own, and this outbox "
                "knows one session only; make it with SQLAlchemyOutboxStorage(session_factory)"
            )
        async with SQLAlchemyUnitOfWork(session_factory=self._session_factory) as own:
            with translated(OutboxError, operation):
                yield await own.connection()

    def _messages(self) -> Select[Any]:
        return select(*(column for column in self._outbox.c if column.name != "seq"))

    def _is_blocked(self, now: Any) -> ColumnElement[bool]:
        leases = self._leases
        return or_(
            leases.c.parked_message_id.is_not(None),
            func.coalesce(leases.c.leased_until > now, False),
            func.coalesce(leases.c.due > now, False),
        )

    def _due(self, now: Any) -> Select[tuple[str]]:
        """Keys of the oldest messages that nobody has in hand."""
        outbox, leases = self._outbox, self._leases
        blocked = exists().where(leases.c.lease_key == outbox.c.lease_key, self._is_blocked(now))
        return (
            select(outbox.c.lease_key)
            .where(outbox.c.published_at.is_(None), ~blocked)
            .order_by(outbox.c.seq)
        )

    async def _waiting(
        self, connection: AsyncConnection, keys: list[str], limit: int
    ) -> Mapping[str, list[OutboxMessage]]:
        found: dict[str, list[OutboxMessage]] = {}
        if is_postgres(connection):
            sql = outbox_statements(self._tables)
            for row in await fetch(connection, sql.waiting, keys, limit):
                key, message_id, event_type, payload, metadata, *rest = row
                facts = from_json(payload), from_json(metadata)
                message = OutboxMessage(message_id, event_type, *facts, *rest)
                found.setdefault(key, []).append(message)
            return found
        outbox = self._outbox
        waiting = (
            self._messages()
            .where(outbox.c.published_at.is_(None), outbox.c.lease_key.in_(keys))
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        for row in await connection.execute(waiting):
            found.setdefault(row.lease_key, []).append(_message(row))
        return found

    async def _lock(self, connection: AsyncConnection, message_ids: Sequence[str]) -> None:
        """Messages before leases, as a claim locks them, or the two could wait for each other."""
        outbox = self._outbox
        ours = select(outbox.c.seq).where(outbox.c.message_id.in_(message_ids))
        await connection.execute(ours.order_by(outbox.c.seq).with_for_update())

    async def _held(self, connection: AsyncConnection, given: Sequence[OutboxLease]) -> list[int]:
        """The epochs that still hold; their rows are locked until the transaction ends."""
        leases = self._leases
        held = (
            select(leases.c.epoch)
            .where(
                leases.c.epoch.in_([lease.epoch for lease in given]),
                leases.c.leased_until > _now(connection),
            )
            .with_for_update()
        )
        return list(await connection.scalars(held))

    async def _publish(self, connection: AsyncConnection, message_ids: Sequence[str]) -> None:
        outbox = self._outbox
        await connection.execute(
            update(outbox)
            .where(outbox.c.message_id.in_(message_ids), outbox.c.published_at.is_(None))
            .values(published_at=_now(connection), error=None)
        )

    async def _count_try(self, connection: AsyncConnection, message_id: str, error: str) -> None:
        outbox = self._outbox
        await connection.execute(
            update(outbox)
            .where(outbox.c.message_id == message_id)
            .values(retry_count=outbox.c.retry_count + 1, error=error)
        )

    async def _unpark(self, connection: AsyncConnection, message_id: str) -> None:
        leases = self._leases
        result = await connection.execute(
            delete(leases).where(leases.c.parked_message_id == message_id)
        )
        if not result.rowcount:
            raise message_not_parked(message_id)


def _now(connection: AsyncConnection) -> Any:
    if is_postgres(connection):
        return func.clock_timestamp()
    return datetime.now(timezone.utc)  # All who share a file share a clock.


def _row(message: OutboxMessage) -> dict[str, object]:
    owner = f"message {message.message_id}"
    return {
        "message_id": message.message_id,
        "lease_key": lease_key_of(message),
        "partition_key": message.partition_key,
        "event_type": message.event_type,
        "payload": from_json(json_of(message.payload, owner, message.event_type)),
        "metadata": from_json(json_of(message.metadata, owner, message.event_type)),
        "created_at": message.created_at,
        "published_at": message.published_at,
        "error": message.error,
        "retry_count": message.retry_count,
        "correlation_id": message.correlation_id,
        "causation_id": message.causation_id,
    }


def _message(row: Row[Any]) -> OutboxMessage:
    facts = dict(row._mapping)
    del facts["lease_key"]
    return OutboxMessage(**facts)
