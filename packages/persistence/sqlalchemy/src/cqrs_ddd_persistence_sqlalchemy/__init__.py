"""Adapters of the ports for PostgreSQL and SQLite through SQLAlchemy."""

from . import schema
from .column_types import ExactDecimal, Json, UtcDateTime
from .event_store import SQLAlchemyEventStore
from .hierarchy import ACLColumns, SQLAlchemyHierarchyReader, TagColumns
from .inbox import SQLAlchemyInbox
from .mapping import ModelMapper
from .model_mixins import ArchivableModelMixin, AuditableModelMixin, VersionMixin
from .models import TABLES, Tables
from .outbox import SQLAlchemyOutboxStorage
from .queue_signal import PostgresQueueSignal
from .repository import SQLAlchemyRepository
from .schema import create_schema
from .sqlite import configure_sqlite
from .unit_of_work import SQLAlchemyUnitOfWork

metadata = TABLES.metadata
"""The tables under their usual names."""

__all__ = [
    "ACLColumns",
    "ArchivableModelMixin",
    "AuditableModelMixin",
    "ExactDecimal",
    "Json",
    "ModelMapper",
    "PostgresQueueSignal",
    "SQLAlchemyEventStore",
    "SQLAlchemyHierarchyReader",
    "SQLAlchemyInbox",
    "SQLAlchemyOutboxStorage",
    "SQLAlchemyRepository",
    "SQLAlchemyUnitOfWork",
    "Tables",
    "TagColumns",
    "UtcDateTime",
    "VersionMixin",
    "configure_sqlite",
    "create_schema",
    "metadata",
    "schema",
]
