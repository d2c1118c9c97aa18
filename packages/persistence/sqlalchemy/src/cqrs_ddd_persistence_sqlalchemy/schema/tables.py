"""The tables of the event store, the outbox and the inbox."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from .advanced_tables import AdvancedTables, is_advanced_installed
from .column_types import UtcDateTime
from .column_types import iso_utc as iso_utc

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

BigKey = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only where the type is spelled INTEGER."""


class Tables:
    """The tables under a prefix and, on PostgreSQL, in a schema of your own.

    ``metadata`` holds them all: give it to Alembic, or to your own ``create_all``. The columns of
    type JSON keep the text as it was written. The tables of ``advanced`` are among them where that
    extra is installed.
    """

    VERSION = 1
    """Of the tables; ``schema.check`` compares it with the one that the database tells."""

    def __init__(self, prefix: str = "cqrs_ddd_", schema: str | None = None) -> None:
        self.prefix = prefix
        self.schema = schema
        self.metadata = MetaData(schema=schema, naming_convention=NAMING_CONVENTION)
        self.events = self._events()
        self.outbox = self._outbox()
        self.outbox_leases = self._outbox_leases()
        self.inbox = self._inbox()
        self.versions = Table(
            f"{prefix}versions",
            self.metadata,
            Column("component", Text, primary_key=True),
            Column("version", Integer, nullable=False),
        )
        self.core = tuple(self.metadata.tables.values())
        unused = MetaData(schema=schema, naming_convention=NAMING_CONVENTION)
        self.advanced = AdvancedTables(self.metadata if is_advanced_installed() else unused, prefix)

    def _events(self) -> Table:
        return Table(
            f"{self.prefix}events",
            self.metadata,
            Column("position", BigKey, primary_key=True, autoincrement=True),
            Column("event_id", Text, nullable=False, unique=True),
            Column("event_type", Text, nullable=False),
            Column("aggregate_id", Text, nullable=False),
            Column("aggregate_type", Text, nullable=False),
            Column("version", BigInteger, nullable=False),
            Column("schema_version", Integer, nullable=False),
            Column("payload", JSON, nullable=False),
            Column("metadata", JSON, nullable=False),
            Column("occurred_at", UtcDateTime, nullable=False),
            Column("correlation_id", Text),
            Column("causation_id", Text),
            # The id comes first: a stream may be asked for by its id alone.
            UniqueConstraint("aggregate_id", "aggregate_type", "version"),
            Index(None, "event_type", "position"),
            # Events are stored about when they occur, so a summary of blocks finds a time.
            Index(None, "occurred_at", postgresql_using="brin"),
            sqlite_autoincrement=True,
        )

    def _outbox(self) -> Table:
        table = Table(
            f"{self.prefix}outbox",
            self.metadata,
            Column("seq", BigKey, primary_key=True, autoincrement=True),
            Column("message_id", Text, nullable=False, unique=True),
            Column("lease_key", Text, nullable=False),
            Column("partition_key", Text),
            Column("event_type", Text, nullable=False),
            Column("payload", JSON, nullable=False),
            Column("metadata", JSON, nullable=False),
            Column("created_at", UtcDateTime, nullable=False),
            Column("published_at", UtcDateTime),
            Column("error", Text),
            Column("retry_count", Integer, nullable=False),
            Column("correlation_id", Text, nullable=False),
            Column("causation_id", Text),
            sqlite_autoincrement=True,
        )
        waiting = table.c.published_at.is_(None)
        kept = table.c.published_at.is_not(None)
        Index(
            f"ix_{table.name}_waiting", table.c.seq, postgresql_where=waiting, sqlite_where=waiting
        )
        Index(
            f"ix_{table.name}_waiting_by_key",
            table.c.lease_key,
            table.c.seq,
            postgresql_where=waiting,
            sqlite_where=waiting,
        )
        Index(
            f"ix_{table.name}_published",
            table.c.published_at,
            postgresql_where=kept,
            sqlite_where=kept,
        )
        return table

    def _outbox_leases(self) -> Table:
        """Keys that are leased, held back or parked; all others have no row."""
        return Table(
            f"{self.prefix}outbox_leases",
            self.metadata,
            # Numbered from one sequence: an old lease fits no later one of the same key.
            Column("epoch", BigKey, primary_key=True, autoincrement=True),
            Column("lease_key", Text, nullable=False, unique=True),
            Column("relay_id", Text, nullable=False),
            Column("leased_until", UtcDateTime),
            Column("due", UtcDateTime),
            Column("parked_message_id", Text, unique=True),
            sqlite_autoincrement=True,
        )

    def _inbox(self) -> Table:
        return Table(
            f"{self.prefix}inbox",
            self.metadata,
            Column("consumer", Text, primary_key=True),
            Column("message_id", Text, primary_key=True),
            Column("fingerprint", Text, nullable=False),
            Column("outcome", JSON(none_as_null=True)),
            Column("registered_at", UtcDateTime, nullable=False),
        )


TABLES = Tables()
"""Under their usual names."""
