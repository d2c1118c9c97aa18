"""The tables of the advanced adapters; nothing of the advanced package is needed to make them."""

from __future__ import annotations

from importlib.util import find_spec

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from .column_types import UtcDateTime

_BigKey = BigInteger().with_variant(Integer(), "sqlite")


class AdvancedTables:
    """Tables beside those of ``Tables``, with its prefix and in its metadata."""

    VERSION = 1
    """Of these tables; they have a row of their own in the table of versions."""
    COMPONENT = "advanced"

    def __init__(self, metadata: MetaData, prefix: str) -> None:
        self.snapshots = Table(
            f"{prefix}snapshots",
            metadata,
            Column("aggregate_type", Text, primary_key=True),
            Column("aggregate_id", Text, primary_key=True),
            Column("version", BigInteger, nullable=False),
            Column("schema_hash", Text, nullable=False),
            Column("state", LargeBinary, nullable=False),
            Column("taken_at", UtcDateTime, nullable=False),
        )
        self.projections = Table(
            f"{prefix}projections",
            metadata,
            # Numbered from one sequence: an old lease fits no later one of any projection.
            Column("epoch", _BigKey, primary_key=True, autoincrement=True),
            Column("projection", Text, nullable=False, unique=True),
            Column("version", Integer, nullable=False),
            Column("position", BigInteger),
            Column("worker_id", Text),
            Column("leased_until", UtcDateTime),
            sqlite_autoincrement=True,
        )
        self.dead_letters = self._dead_letters(metadata, prefix)
        self.views = Table(
            f"{prefix}views",
            metadata,
            Column("collection", Text, primary_key=True),
            # Names of indexes have it, since they stay when the table gets another name.
            Column("number", BigInteger, nullable=False, unique=True),
            Column("fields", Text, nullable=False),
        )
        self.view_prefix = f"{prefix}view_"
        """Of the tables that projections make for themselves, one for each collection."""

    @property
    def all(self) -> tuple[Table, ...]:
        return (self.snapshots, self.projections, self.dead_letters, self.views)

    def _dead_letters(self, metadata: MetaData, prefix: str) -> Table:
        table = Table(
            f"{prefix}dead_letters",
            metadata,
            Column("projection", Text, primary_key=True),
            Column("position", BigInteger, primary_key=True),
            Column("aggregate_type", Text, nullable=False),
            Column("aggregate_id", Text, nullable=False),
            Column("event_id", Text, nullable=False),
            Column("event_type", Text, nullable=False),
            Column("state", Text, nullable=False),
            Column("error", Text),
            Column("attempts", Integer, nullable=False),
            Column("recorded_at", UtcDateTime, nullable=False),
            Column("is_due", Boolean, nullable=False),
        )
        Index(
            f"ix_{table.name}_held",
            table.c.projection,
            table.c.aggregate_type,
            table.c.aggregate_id,
            table.c.position,
            postgresql_where=table.c.state != "SKIPPED",
            sqlite_where=table.c.state != "SKIPPED",
        )
        Index(
            f"ix_{table.name}_poison",
            table.c.projection,
            table.c.aggregate_type,
            table.c.aggregate_id,
            postgresql_where=table.c.state == "POISON",
            sqlite_where=table.c.state == "POISON",
        )
        Index(
            f"ix_{table.name}_due",
            table.c.projection,
            table.c.position,
            postgresql_where=table.c.is_due,
            sqlite_where=text("is_due = 1"),  # As a query says it there.
        )
        return table


def is_advanced_installed() -> bool:
    """Whether the extra ``advanced`` is there."""
    return find_spec("cqrs_ddd_advanced_core") is not None
