"""Column of the tenant, which every table of stored rows has."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningDelete


def create_tenant_column(name: str = "tenant_id", *, primary_key: bool = False) -> sa.Column[str]:
    """Return the column of the tenant of each row, which is empty without tenants.

    It is never NULL, since a unique constraint treats all NULLs as different.
    """
    return sa.Column(name, sa.Text, nullable=False, server_default="", primary_key=primary_key)


def is_visible(column: sa.ColumnElement[str], tenant_id: str | None) -> sa.ColumnElement[bool]:
    """Return the condition for the rows of a tenant, or for all rows if it is None."""
    return sa.true() if tenant_id is None else column == tenant_id


def delete_old(
    time: sa.Column[datetime], before: datetime, *, tenant_id: str | None, limit: int
) -> ReturningDelete[Any]:
    """Return the DELETE of a table's oldest rows, which returns one row for each of them.

    Args:
        time: column with the time of a row.
        before: only rows with an earlier time are deleted.
        tenant_id: tenant of the rows, None for all tenants.
        limit: largest number of rows.
    """
    table = time.table
    key = list(table.primary_key)
    # An expression, or SQLite would prefer an index on the tenant and sort all rows of the tenant.
    tenant = table.c.tenant_id.concat("")
    # A CTE that locks rows runs once; a subquery might run again and delete more than the limit.
    old = (
        sa.select(*key)
        .where(time < before, is_visible(tenant, tenant_id))
        .order_by(time)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    is_old = sa.tuple_(*key).in_(sa.select(*old.c))
    # sqlite3 counts no rows of a statement that starts with WITH, so each row returns a number.
    return sa.delete(table).where(is_old).returning(sa.literal_column("1"))
