"""Test that every statement on a table with tenants names the tenant of its rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.event import listen, remove
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_advanced_core.testing.contracts import tenancy as advanced
from cqrs_ddd_core.context import request_var, system_tenant
from cqrs_ddd_core.testing.contracts import tenancy
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    Tables,
)
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyProjectionStore,
    SQLAlchemySnapshotStore,
)
from cqrs_ddd_persistence_sqlalchemy.engine import driver
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory

CONTRACTS: tuple[type[Any], ...] = (
    tenancy.EventStoreTenancyContract,
    tenancy.OutboxTenancyContract,
    tenancy.InboxTenancyContract,
    advanced.SnapshotTenancyContract,
    advanced.ProjectionTenancyContract,
    advanced.DeadLetterTenancyContract,
    advanced.EventSourcingTenancyContract,
)
TABLES = ("events", "outbox", "outbox_leases", "inbox", "snapshots", "dead_letters", "view_")
EXCEPTIONS = {
    "the last position, which has no tenant": "SELECT coalesce(max(position), 0) FROM",
    "a lease by its epoch, which is unique over all tenants": "outbox_leases WHERE epoch = ANY",
    "the same with SQLAlchemy": "outbox_leases.epoch IN",
    "the definition of a collection": "CREATE ",
    "the end of a collection": "DROP TABLE",
    "the replacement of a collection": "ALTER TABLE",
    "its lock on the tables of both collections": "LOCK TABLE",
}
LATER_REQUEST = "keeps_the_tenant_of_its_call"
"""End of the names of sentences in which a statement is sent in the request of another tenant."""
Sent = tuple[str | None, str, str]
"""Tenant of the request, text of a statement, and its values as text."""


class RecordingDriver:
    """Connection of the driver that records the statements that bypass SQLAlchemy."""

    def __init__(self, connection: Any, record: Callable[[str, Any], None]) -> None:
        self._connection = connection
        self._record = record

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)
        if name not in ("fetch", "execute_fetchall", "executemany"):
            return method

        def send(statement: str, *values: Any) -> Any:
            self._record(statement, values)
            return method(statement, *values)

        return send


@pytest.fixture
def sent(
    engine: AsyncEngine, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Sent]]:
    """Statements on tables with tenants that were sent in the request of a tenant."""
    found: list[Sent] = []

    def record(statement: str, values: Any) -> None:
        request = request_var.get()
        if not request.is_system and any(f"cqrs_ddd_{name}" in statement for name in TABLES):
            found.append((request.tenant_id, statement, str(values)))

    def record_cursor(*given: Any) -> None:
        record(given[2], given[3])

    get_driver = driver.get_driver
    monkeypatch.setattr(
        driver, "get_driver", lambda connection: RecordingDriver(get_driver(connection), record)
    )
    listen(engine.sync_engine, "before_cursor_execute", record_cursor)
    yield found
    remove(engine.sync_engine, "before_cursor_execute", record_cursor)


async def test_every_statement_in_the_request_of_a_tenant_names_the_tenant(
    sent: list[Sent],
    engine: AsyncEngine,
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
) -> None:
    stores: dict[str, Callable[[], Any]] = {
        "event_store": lambda: SQLAlchemyEventStore(session_factory, tables=tables),
        "outbox": lambda: SQLAlchemyOutboxStorage(session_factory, tables=tables),
        "inbox": lambda: SQLAlchemyInbox(session_factory, tables=tables),
        "snapshots": lambda: SQLAlchemySnapshotStore(session_factory, tables=tables),
        "store": lambda: SQLAlchemyProjectionStore(session_factory, tables=tables),
        "dead_letters": lambda: SQLAlchemyDeadLetterStore(session_factory, tables=tables),
        "new_uow": lambda: new_uow,
    }
    for contract in CONTRACTS:
        for name, sentence in inspect.getmembers(contract(), inspect.iscoroutinefunction):
            if name.startswith("test_") and not name.endswith(LATER_REQUEST):
                wanted = inspect.signature(sentence).parameters
                await sentence(**{each: stores[each]() for each in wanted})
                await _delete_rows(engine, tables)

    texts = {text for _, text, _ in sent}
    for verb in ("INSERT", "SELECT", "UPDATE", "DELETE"):
        assert any(verb in text for text in texts), verb
    for tenant_id, text, values in sent:
        if not any(exception in text for exception in EXCEPTIONS.values()):
            assert "tenant_id" in text or "doc_tenant" in text, text
            owner = tenant_id or ""
            assert repr(owner) in values or f'"{owner}"' in values, (owner, text, values)


async def _delete_rows(engine: AsyncEngine, tables: Tables) -> None:
    with system_tenant():
        async with engine.begin() as connection:
            for table in (tables.outbox, tables.outbox_leases, tables.advanced.dead_letters):
                await connection.execute(delete(table))
