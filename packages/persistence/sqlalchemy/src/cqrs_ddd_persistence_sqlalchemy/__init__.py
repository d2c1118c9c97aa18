"""Adapters of the ports for PostgreSQL and SQLite through SQLAlchemy."""

from . import schema
from .event_store import SQLAlchemyEventStore
from .hierarchy import ACLColumns, SQLAlchemyHierarchyReader, TagColumns
from .inbox import SQLAlchemyInbox
from .models import TABLES, Tables
from .outbox import SQLAlchemyOutboxStorage
from .queue_signal import PostgresQueueSignal
from .schema import create_schema
from .sqlite import configure_sqlite
from .unit_of_work import SQLAlchemyUnitOfWork

metadata = TABLES.metadata
"""The tables under their usual names."""

__all__ = [
    "ACLColumns",
    "PostgresQueueSignal",
    "SQLAlchemyEventStore",
    "SQLAlchemyHierarchyReader",
    "SQLAlchemyInbox",
    "SQLAlchemyOutboxStorage",
    "SQLAlchemyUnitOfWork",
    "Tables",
    "TagColumns",
    "configure_sqlite",
    "create_schema",
    "metadata",
    "schema",
]
