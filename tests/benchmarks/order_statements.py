"""The SQL of the script: made once, as Core constructs that SQLAlchemy keeps compiled."""

from __future__ import annotations

from typing import Any

from order_system import tables
from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.column_types import ExactDecimal, UtcDateTime

TOOLKIT = Tables()


def table_of(name: str) -> Table:
    """One of the application's."""
    return tables.Base.metadata.tables[name]


class OrderStatements:
    """For one dialect. Sums are added up by the database, so nothing is read before."""

    def __init__(self, dialect: str) -> None:
        insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
        orders, listed = table_of("orders"), table_of("order_list")
        outbox = TOOLKIT.outbox
        the_order = orders.c.id == bindparam("order_id")
        in_list = listed.c.id == bindparam("order_id")

        self.register = insert(TOOLKIT.inbox).on_conflict_do_nothing()
        self.order = select(orders).where(the_order)
        self.add_order = insert(orders)
        self.change_order = (
            update(orders)
            .where(the_order, orders.c.version == bindparam("known_version"))
            .values({name: bindparam(name) for name in ("shipped_at", "lines", "version")})
        )
        self.add_events = insert(TOOLKIT.events)
        self.add_messages = insert(outbox)

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
        self.list_order = insert(listed).values(
            is_cancellation=False, lines=0, amount=0, days_to_ship=None, version=1
        )
        self.list_line = (
            update(listed)
            .where(in_list)
            .values(
                lines=listed.c.lines + 1,
                amount=listed.c.amount + bindparam("added", type_=ExactDecimal(18, 5)),
                version=listed.c.version + 1,
            )
            .returning(listed.c.customer_id, listed.c.country)
        )
        self.when_placed = select(listed.c.placed_at, listed.c.country).where(in_list)
        self.list_shipped = (
            update(listed)
            .where(in_list)
            .values(days_to_ship=bindparam("days"), version=listed.c.version + 1)
        )
        customers = table_of("customer_sales")
        self.customer = _adding(insert, customers).returning(customers.c.version)
        self.country = _adding(insert, table_of("country_sales"))


def _adding(insert: Any, table: Table) -> Any:
    row = insert(table).values(version=1)
    sums = [column.name for column in table.columns if column.name not in ("id", "version")]
    added: dict[str, Any] = {name: table.c[name] + row.excluded[name] for name in sums}
    return row.on_conflict_do_update(
        index_elements=["id"], set_={**added, "version": table.c.version + 1}
    )
