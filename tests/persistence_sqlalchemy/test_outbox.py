"""Plans of the statements that count the backlog and delete old rows."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_core.adapters.memory import InMemoryMessageBus
from cqrs_ddd_core.messaging import OutboxRelay, RoutingPublisher
from cqrs_ddd_core.ports import IMessagePublisher, OutboxMessage
from cqrs_ddd_core.testing.contracts.outbox import message
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    SQLAlchemyUnitOfWork,
    Tables,
)
from cqrs_ddd_persistence_sqlalchemy.engine import driver
from cqrs_ddd_persistence_sqlalchemy.inbox import inbox
from cqrs_ddd_persistence_sqlalchemy.outbox.statements import select_backlog
from cqrs_ddd_persistence_sqlalchemy.schema.tenants import delete_old
from tests.persistence_sqlalchemy.conftest import SessionFactory


async def test_backlog_is_counted_by_the_index_of_unpublished_messages(
    engine: AsyncEngine, session_factory: SessionFactory, tables: Tables
) -> None:
    outbox = SQLAlchemyOutboxStorage(session_factory, tables=tables)
    sent = [message("k") for _ in range(2000)]
    await outbox.save_messages(sent)
    await outbox.mark_published([each.message_id for each in sent[10:]])
    async with engine.begin() as connection:
        await connection.execute(text("ANALYZE"))

    async with engine.connect() as connection:
        explain = "EXPLAIN" if driver.is_postgres(connection) else "EXPLAIN QUERY PLAN"
        query = select_backlog(tables, driver.get_database_time(connection), "")
        sql = query.compile(engine.sync_engine, compile_kwargs={"literal_binds": True})
        rows = await connection.exec_driver_sql(f"{explain} {sql}")
        plan = "\n".join(str(row) for row in rows)

    assert "ix_cqrs_ddd_outbox_waiting" in plan
    assert "SCAN cqrs_ddd_outbox\n" not in plan
    assert "Seq Scan on cqrs_ddd_outbox " not in plan


@pytest.mark.parametrize("tenant_id", [None, ""], ids=["all tenants", "one tenant"])
async def test_purges_find_old_rows_by_the_index_of_their_time(
    engine: AsyncEngine, session_factory: SessionFactory, tables: Tables, tenant_id: str | None
) -> None:
    outbox = SQLAlchemyOutboxStorage(session_factory, tables=tables)
    store = SQLAlchemyInbox(session_factory, tables=tables)
    sent = [message("k") for _ in range(2000)]
    await outbox.save_messages(sent)
    await outbox.mark_published([each.message_id for each in sent])
    unit_of_work = SQLAlchemyUnitOfWork(session_factory=session_factory, tables=tables)
    async with unit_of_work as uow:
        for each in sent[:500]:
            await store.register("billing", each.message_id, "print", uow)
    async with engine.begin() as connection:
        await connection.execute(text("ANALYZE"))

    plans = []
    async with engine.connect() as connection:
        explain = "EXPLAIN" if driver.is_postgres(connection) else "EXPLAIN QUERY PLAN"
        for time in (tables.outbox.c.published_at, tables.inbox.c.registered_at):
            query = delete_old(time, sent[0].created_at, tenant_id=tenant_id, limit=1000)
            sql = query.compile(engine.sync_engine, compile_kwargs={"literal_binds": True})
            rows = await connection.exec_driver_sql(f"{explain} {sql}")
            plans.append("\n".join(str(row) for row in rows))

    assert "ix_cqrs_ddd_outbox_published" in plans[0]
    assert "ix_cqrs_ddd_inbox_registered_at" in plans[1]
    for plan in plans:
        assert "Seq Scan" not in plan
        assert "SCAN cqrs_ddd" not in plan


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)  # SQLite has one writer at a time.
async def test_message_that_is_purged_while_it_is_delivered_again_is_new(
    session_factory: SessionFactory, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLAlchemyInbox(session_factory, tables=tables)
    await store.register("billing", "m-1", "print")
    purged: list[int] = []

    async def purge_and_fetch(connection: AsyncConnection, sql: str, *values: object) -> Any:
        if sql.startswith("SELECT") and not purged:
            purged.append(await store.purge(datetime.now(timezone.utc) + timedelta(1)))
        return await driver.fetch(connection, sql, *values)

    monkeypatch.setattr(inbox, "fetch", purge_and_fetch)

    assert await store.register("billing", "m-1", "print") is None
    assert purged == [1]


async def test_relay_publishes_to_one_broker_while_another_is_unavailable(
    session_factory: SessionFactory, tables: Tables
) -> None:
    outbox = SQLAlchemyOutboxStorage(session_factory=session_factory, tables=tables)
    accepting = InMemoryMessageBus()
    publisher = RoutingPublisher({"Order*": Unavailable(), "*": accepting})
    sent = [message("a", event_type="OrderPaid"), message("b"), message(None), message("b")]
    await outbox.save_messages(sent)

    assert await OutboxRelay(outbox, publisher, batch=1).drain() == 3

    assert {each.message_id for each in accepting.published} == {e.message_id for e in sent[1:]}
    backlog = await outbox.get_backlog()
    assert (backlog.waiting, backlog.blocked, backlog.dead_letters) == (0, 1, 0)
    (waiting,) = await outbox.get_pending()
    assert waiting.retry_count == 0


class Unavailable(IMessagePublisher):
    """Publisher to a broker that accepts no connection."""

    async def publish(self, message: OutboxMessage) -> None:
        raise ConnectionRefusedError
