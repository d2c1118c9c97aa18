"""Column of the tenant, which every table of stored rows has."""

from __future__ import annotations

import sqlalchemy as sa


def create_tenant_column(name: str = "tenant_id", *, primary_key: bool = False) -> sa.Column[str]:
    """Return the column of the tenant of each row, which is empty without tenants.

    It is never NULL, since a unique constraint treats all NULLs as different.
    """
    return sa.Column(name, sa.Text, nullable=False, server_default="", primary_key=primary_key)


def is_visible(column: sa.ColumnElement[str], tenant_id: str | None) -> sa.ColumnElement[bool]:
    """Return the condition for the rows of a tenant, or for all rows if it is None."""
    return sa.true() if tenant_id is None else column == tenant_id
