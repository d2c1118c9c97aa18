"""Plan of the statement that counts the backlog of an outbox."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_core.testing.contracts.outbox import message
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyOutboxStorage, Tables
from cqrs_ddd_persistence_sqlalchemy.engine import driver
from cqrs_ddd_persistence_sqlalchemy.outbox.statements import select_backlog
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
