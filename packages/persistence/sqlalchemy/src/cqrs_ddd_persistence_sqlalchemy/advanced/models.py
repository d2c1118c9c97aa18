"""The tables of the advanced adapters; nothing of the advanced package is needed to make them."""

from __future__ import annotations

from importlib.util import find_spec

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text

from ..column_types import UtcDateTime


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

    @property
    def all(self) -> tuple[Table, ...]:
        return (self.snapshots,)


def is_advanced_installed() -> bool:
    """Whether the extra ``advanced`` is there."""
    return find_spec("cqrs_ddd_advanced_core") is not None
