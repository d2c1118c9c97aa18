"""Tables of the advanced adapters, which can be created without the advanced package."""

from __future__ import annotations

from importlib.util import find_spec

import sqlalchemy as sa

from .column_types import UtcDateTime
from .tenants import create_tenant_column

_BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class AdvancedTables:
    """Tables of the advanced adapters, with the prefix and the metadata of ``Tables``.

    Args:
        metadata: collects the tables.
        prefix: start of the names.
    """

    VERSION = 1
    """Version of these tables, stored in their own row of the table of versions."""
    COMPONENT = "advanced"

    def __init__(self, metadata: sa.MetaData, prefix: str) -> None:
        self.snapshots = sa.Table(
            f"{prefix}snapshots",
            metadata,
            create_tenant_column(primary_key=True),
            sa.Column("aggregate_type", sa.Text, primary_key=True),
            sa.Column("aggregate_id", sa.Text, primary_key=True),
            sa.Column("version", sa.BigInteger, nullable=False),
            sa.Column("schema_hash", sa.Text, nullable=False),
            sa.Column("state", sa.LargeBinary, nullable=False),
            sa.Column("taken_at", UtcDateTime, nullable=False),
        )
        self.projections = sa.Table(
            f"{prefix}projections",
            metadata,
            # Numbered from one sequence, so that no two leases of any projection share an epoch.
            sa.Column("epoch", _BigKey, primary_key=True, autoincrement=True),
            sa.Column("projection", sa.Text, nullable=False, unique=True),
            sa.Column("version", sa.Integer, nullable=False),
            sa.Column("position", sa.BigInteger),
            sa.Column("worker_id", sa.Text),
            sa.Column("leased_until", UtcDateTime),
            sqlite_autoincrement=True,
        )
        self.dead_letters = self._define_dead_letters(metadata, prefix)
        self.views = sa.Table(
            f"{prefix}views",
            metadata,
            sa.Column("collection", sa.Text, primary_key=True),
            # Part of the names of indexes, which do not change when the table is renamed.
            sa.Column("number", sa.BigInteger, nullable=False, unique=True),
            sa.Column("fields", sa.Text, nullable=False),
        )
        self.view_prefix = f"{prefix}view_"
        """Prefix of the tables of collections."""

    @property
    def all(self) -> tuple[sa.Table, ...]:
        """All tables of the advanced adapters."""
        return (self.snapshots, self.projections, self.dead_letters, self.views)

    def _define_dead_letters(self, metadata: sa.MetaData, prefix: str) -> sa.Table:
        table = sa.Table(
            f"{prefix}dead_letters",
            metadata,
            sa.Column("projection", sa.Text, primary_key=True),
            sa.Column("position", sa.BigInteger, primary_key=True),
            create_tenant_column(),
            sa.Column("aggregate_type", sa.Text, nullable=False),
            sa.Column("aggregate_id", sa.Text, nullable=False),
            sa.Column("event_id", sa.Text, nullable=False),
            sa.Column("event_type", sa.Text, nullable=False),
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("error", sa.Text),
            sa.Column("attempts", sa.Integer, nullable=False),
            sa.Column("recorded_at", UtcDateTime, nullable=False),
            sa.Column("is_due", sa.Boolean, nullable=False),
        )
        stream = [
            table.c[name] for name in ("projection", "tenant_id", "aggregate_type", "aggregate_id")
        ]
        is_held = table.c.state != "SKIPPED"
        add_partial_index(table, "held", *stream, table.c.position, where=is_held)
        add_partial_index(table, "poison", *stream, where=table.c.state == "POISON")
        add_partial_index(
            table,
            "due",
            table.c.projection,
            table.c.position,
            where=table.c.is_due,
            # SQLite uses the index only for a condition spelled like the condition of the queries.
            sqlite_where=sa.text("is_due = 1"),
        )
        return table


def add_partial_index(
    table: sa.Table,
    name: str,
    *columns: sa.Column[object],
    where: sa.ColumnElement[bool],
    sqlite_where: sa.TextClause | None = None,
) -> None:
    """Add an index of the rows that satisfy a condition."""
    on_sqlite = where if sqlite_where is None else sqlite_where
    sa.Index(f"ix_{table.name}_{name}", *columns, postgresql_where=where, sqlite_where=on_sqlite)


def is_advanced_installed() -> bool:
    """Return whether the extra ``advanced`` is installed."""
    return find_spec("cqrs_ddd_advanced_core") is not None
