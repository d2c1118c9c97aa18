"""Tables of event store, outbox, inbox and heartbeats."""

from __future__ import annotations

import sqlalchemy as sa

from .advanced_tables import AdvancedTables, add_partial_index, is_advanced_installed
from .column_types import UtcDateTime
from .tenants import create_tenant_column

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""Key that the database assigns; SQLite requires the type name INTEGER for it."""


class Tables:
    """Tables of the toolkit, under a prefix and, on PostgreSQL, in a schema.

    ``metadata`` contains all of them, for Alembic or ``create_all``; the tables of ``advanced``
    only if the extra is installed. JSON columns preserve the text as it was written.

    Args:
        prefix: start of the names of all tables.
        schema: schema on PostgreSQL; None uses the search path.
    """

    VERSION = 1
    """Version of the tables; ``schema.check`` compares it with the version in the database."""

    def __init__(self, prefix: str = "cqrs_ddd_", schema: str | None = None) -> None:
        self.prefix = prefix
        self.schema = schema
        self.metadata = sa.MetaData(schema=schema, naming_convention=NAMING_CONVENTION)
        self.events = self._define_events()
        self.outbox = self._define_outbox()
        self.outbox_leases = self._define_outbox_leases()
        self.inbox = self._define_inbox()
        self.heartbeats = self._define_heartbeats()
        self.versions = sa.Table(
            f"{prefix}versions",
            self.metadata,
            sa.Column("component", sa.Text, primary_key=True),
            sa.Column("version", sa.Integer, nullable=False),
        )
        self.core = tuple(self.metadata.tables.values())
        unused = sa.MetaData(schema=schema, naming_convention=NAMING_CONVENTION)
        self.advanced = AdvancedTables(self.metadata if is_advanced_installed() else unused, prefix)

    def _define_events(self) -> sa.Table:
        return sa.Table(
            f"{self.prefix}events",
            self.metadata,
            sa.Column("position", BigKey, primary_key=True, autoincrement=True),
            create_tenant_column(),
            sa.Column("event_id", sa.Text, nullable=False),
            sa.Column("event_type", sa.Text, nullable=False),
            sa.Column("aggregate_id", sa.Text, nullable=False),
            sa.Column("aggregate_type", sa.Text, nullable=False),
            sa.Column("version", sa.BigInteger, nullable=False),
            sa.Column("schema_version", sa.Integer, nullable=False),
            sa.Column("payload", sa.JSON, nullable=False),
            sa.Column("metadata", sa.JSON, nullable=False),
            sa.Column("occurred_at", UtcDateTime, nullable=False),
            sa.Column("correlation_id", sa.Text),
            sa.Column("causation_id", sa.Text),
            sa.UniqueConstraint("event_id", "tenant_id"),
            # The id comes before the type, since a stream can be read by the id alone.
            sa.UniqueConstraint(
                *("tenant_id", "aggregate_id", "aggregate_type", "version"),
                name=f"uq_{self.prefix}events_stream_version",
            ),
            sa.Index(None, "event_type", "position"),
            # BRIN suffices: events are stored soon after they occur, in blocks of similar times.
            sa.Index(None, "occurred_at", postgresql_using="brin"),
            sqlite_autoincrement=True,
        )

    def _define_outbox(self) -> sa.Table:
        table = sa.Table(
            f"{self.prefix}outbox",
            self.metadata,
            sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
            create_tenant_column(),
            sa.Column("message_id", sa.Text, nullable=False),
            sa.Column("lease_key", sa.Text, nullable=False),
            sa.Column("partition_key", sa.Text),
            sa.Column("event_type", sa.Text, nullable=False),
            sa.Column("payload", sa.JSON, nullable=False),
            sa.Column("metadata", sa.JSON, nullable=False),
            sa.Column("created_at", UtcDateTime, nullable=False),
            sa.Column("published_at", UtcDateTime),
            sa.Column("error", sa.Text),
            sa.Column("retry_count", sa.Integer, nullable=False),
            sa.Column("correlation_id", sa.Text, nullable=False),
            sa.Column("causation_id", sa.Text),
            # The id comes first: a relay marks the messages of several tenants by one statement.
            sa.UniqueConstraint("message_id", "tenant_id"),
            sqlite_autoincrement=True,
        )
        is_waiting = table.c.published_at.is_(None)
        add_partial_index(table, "waiting", table.c.seq, where=is_waiting)
        key = (table.c.lease_key, table.c.tenant_id)
        add_partial_index(table, "waiting_by_key", *key, table.c.seq, where=is_waiting)
        is_published = table.c.published_at.is_not(None)
        add_partial_index(table, "published", table.c.published_at, where=is_published)
        return table

    def _define_outbox_leases(self) -> sa.Table:
        """Define the table of keys that are leased, delayed or blocked; other keys have no row."""
        return sa.Table(
            f"{self.prefix}outbox_leases",
            self.metadata,
            # Numbered from one sequence, so that no two leases share an epoch.
            sa.Column("epoch", BigKey, primary_key=True, autoincrement=True),
            create_tenant_column(),
            sa.Column("lease_key", sa.Text, nullable=False),
            sa.Column("relay_id", sa.Text, nullable=False),
            sa.Column("leased_until", UtcDateTime),
            sa.Column("due", UtcDateTime),
            sa.Column("dead_letter_id", sa.Text),
            sa.UniqueConstraint("lease_key", "tenant_id"),
            sa.UniqueConstraint("dead_letter_id", "tenant_id"),
            sqlite_autoincrement=True,
        )

    def _define_inbox(self) -> sa.Table:
        return sa.Table(
            f"{self.prefix}inbox",
            self.metadata,
            create_tenant_column(primary_key=True),
            sa.Column("consumer", sa.Text, primary_key=True),
            sa.Column("message_id", sa.Text, primary_key=True),
            sa.Column("fingerprint", sa.Text, nullable=False),
            sa.Column("outcome", sa.JSON(none_as_null=True)),
            sa.Column("registered_at", UtcDateTime, nullable=False),
            sa.Index(None, "registered_at"),
        )

    def _define_heartbeats(self) -> sa.Table:
        return sa.Table(
            f"{self.prefix}heartbeats",
            self.metadata,
            sa.Column("service", sa.Text, primary_key=True),
            sa.Column("instance_id", sa.Text, primary_key=True),
            sa.Column("host", sa.Text, nullable=False),
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("started_at", UtcDateTime, nullable=False),
            sa.Column("restarts", sa.Integer, nullable=False),
            sa.Column("error_type", sa.Text),
            sa.Column("beat_at", UtcDateTime, nullable=False),
        )


TABLES = Tables()
"""Tables with the default prefix."""
