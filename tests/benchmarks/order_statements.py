"""SQL of the script, built once as Core constructs, which SQLAlchemy caches in compiled form."""

from __future__ import annotations

from typing import Any

from order_system import tables
from sqlalchemy import JSON, Column, Integer, MetaData, Table, Text, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import UtcDateTime

TOOLKIT = Tables()


def get_table(name: str) -> Table:
    """Return a table of the application."""
    return tables.Base.metadata.tables[name]


def _define_documents(collection: str, *fields: Column[Any]) -> Table:
    name = f"{TOOLKIT.advanced.view_prefix}{collection}"
    key = (
        Column("doc_tenant", Text, primary_key=True, server_default=""),
        Column("doc_id", Text, primary_key=True),
    )
    return Table(name, MetaData(), *key, Column("doc", JSON), *fields)


DAYS = _define_documents("daily_revenue")
SUMMARIES = _define_documents(
    "order_summaries", Column("placed_at", UtcDateTime), Column("days_to_ship", Integer)
)


class OrderStatements:
    """Statements for one dialect.

    The database adds up the sums, so the script reads nothing before it writes them.
    """

    def __init__(self, dialect: str) -> None:
        insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
        orders, outbox, events = get_table("orders"), TOOLKIT.outbox, TOOLKIT.events
        the_order = orders.c.id == bindparam("order_id")

        self.register = insert(TOOLKIT.inbox).on_conflict_do_nothing()
        self.order = select(orders).where(the_order)
        self.add_order = insert(orders)
        self.change_order = (
            update(orders)
            .where(the_order, orders.c.version == bindparam("known_version"))
            .values({name: bindparam(name) for name in ("shipped_at", "lines", "version")})
        )
        self.add_events = insert(events)
        self.add_messages = insert(outbox)
        self.day = select(DAYS.c.doc).where(
            DAYS.c.doc_tenant == "", DAYS.c.doc_id == bindparam("day")
        )
        self.keep_day = _build_upsert(insert, DAYS)

        self.waiting = (
            select(
                *(outbox.c.seq, outbox.c.message_id, outbox.c.event_type, outbox.c.payload),
                outbox.c["metadata"],
            )
            .where(outbox.c.published_at.is_(None))
            .order_by(outbox.c.seq)
            .limit(bindparam("limit"))
        )
        self.mark = (
            update(outbox)
            .where(outbox.c.seq.in_(bindparam("seqs", expanding=True)))
            .values(published_at=bindparam("now", type_=UtcDateTime()))
        )
        customers = get_table("customer_sales")
        self.customer = _build_addition(insert, customers).returning(customers.c.version)
        self.country = _build_addition(insert, get_table("country_sales"))

        self.events_after = (
            select(events.c.position, events.c.aggregate_id, events.c.event_type, events.c.payload)
            .where(events.c.position > bindparam("position"))
            .order_by(events.c.position)
            .limit(bindparam("limit"))
        )
        self.summaries = select(SUMMARIES.c.doc_id, SUMMARIES.c.doc).where(
            SUMMARIES.c.doc_tenant == "", SUMMARIES.c.doc_id.in_(bindparam("ids", expanding=True))
        )
        self.keep_summaries = _build_upsert(insert, SUMMARIES)
        row = insert(TOOLKIT.advanced.projections).values(projection="OrderSummaries", version=1)
        self.checkpoint = row.on_conflict_do_update(
            index_elements=["projection"], set_={"position": row.excluded.position}
        )


def _build_upsert(insert: Any, table: Table) -> Any:
    row = insert(table)
    kept = {column.name: row.excluded[column.name] for column in table.columns}
    return row.on_conflict_do_update(index_elements=["doc_tenant", "doc_id"], set_=kept)


def _build_addition(insert: Any, table: Table) -> Any:
    row = insert(table).values(version=1)
    sums = [column.name for column in table.columns if column.name not in ("id", "version")]
    added: dict[str, Any] = {name: table.c[name] + row.excluded[name] for name in sums}
    return row.on_conflict_do_update(
        index_elements=["id"], set_={**added, "version": table.c.version + 1}
    )
