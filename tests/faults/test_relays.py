"""Tests of many relays on one outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import update

from cqrs_ddd_core.ports import OutboxLease, OutboxMessage, UnitOfWork
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyOutboxStorage, Tables
from tests.faults import sizes
from tests.faults.relaying import run_relays
from tests.persistence_sqlalchemy.conftest import SessionFactory

RELAYS = 8


class UnorderedLeasesOutbox(SQLAlchemyOutboxStorage):
    """Outbox that leases single messages instead of partition keys."""

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        await super().save_messages(messages, uow)
        async with self._connections.new_transaction("replace the lease keys") as new:
            connection = await new.connection()
            await connection.execute(
                update(self._outbox).values(lease_key=self._outbox.c.message_id)
            )


class ReadBeforeLeaseOutbox(SQLAlchemyOutboxStorage):
    """Outbox that reads the messages before it leases their keys."""

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        seen = await self.get_pending(limit)
        leases = await super().claim(relay_id, limit=limit, lease=lease)
        return [
            replace(each, messages=[m for m in seen if m.partition_key == each.key])
            for each in leases
        ]

    async def complete_and_claim(
        self,
        published: Sequence[tuple[OutboxLease, Sequence[str]]],
        relay_id: str,
        *,
        limit: int = 100,
        lease: float = 30.0,
    ) -> tuple[list[OutboxLease], list[OutboxLease]]:
        lost = await self.complete_batch(published)
        return lost, await self.claim(relay_id, limit=limit, lease=lease)


@pytest.mark.long
async def test_eight_relays_publish_each_message_once_and_each_key_in_order(
    session_factory: SessionFactory,
    tables: Tables,
    backend: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = SQLAlchemyOutboxStorage(session_factory, tables=tables)

    for _ in range(sizes.RELAY_RUNS if backend == "postgres" else 2):
        broker = await run_relays([outbox] * RELAYS, keys=20, messages=200)

        assert (broker.published_twice, broker.disordered_keys) == (0, 0)
        assert len(broker.published) == 200
    # A deadlock or a lost lease would be logged.
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_relay_check_catches_an_outbox_that_leases_single_messages_out_of_order(
    session_factory: SessionFactory, tables: Tables
) -> None:
    outbox = UnorderedLeasesOutbox(session_factory, tables=tables)

    disordered = 0
    for _ in range(10):
        broker = await run_relays([outbox] * RELAYS, keys=5, messages=100)
        disordered += broker.disordered_keys
        if disordered:
            break

    assert disordered


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_relay_check_catches_an_outbox_that_lets_two_relays_publish_a_message(
    session_factory: SessionFactory, tables: Tables
) -> None:
    outbox = ReadBeforeLeaseOutbox(session_factory, tables=tables)

    published_twice = 0
    for _ in range(10):
        broker = await run_relays([outbox] * RELAYS, keys=5, messages=100)
        published_twice += broker.published_twice
        if published_twice:
            break

    assert published_twice
