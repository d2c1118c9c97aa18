"""Adapters of the ports for PostgreSQL and SQLite through SQLAlchemy."""

from . import schema
from .backend import SQLAlchemyBackend
from .engine.queue_signal import PostgresQueueSignal
from .engine.sqlite import configure_sqlite
from .event_store.event_store import SQLAlchemyEventStore
from .heartbeats.heartbeats import SQLAlchemyHeartbeatStore
from .hierarchy.hierarchy import ACLColumns, SQLAlchemyHierarchyReader, TagColumns
from .inbox.inbox import SQLAlchemyInbox
from .outbox.outbox import SQLAlchemyOutboxStorage
from .repository.model_mapper import ModelMapper
from .repository.model_mixins import (
    ArchivableModelMixin,
    AuditableModelMixin,
    VersionMixin,
    unique_unless_archived,
)
from .repository.repository import SQLAlchemyRepository
from .schema.column_types import ExactDecimal, Json, UtcDateTime
from .schema.installation import create_schema
from .schema.tables import TABLES, Tables
from .unit_of_work import SQLAlchemyUnitOfWork

metadata = TABLES.metadata
"""Metadata of the tables with the default prefix."""

__all__ = [
    "ACLColumns",
    "ArchivableModelMixin",
    "AuditableModelMixin",
    "ExactDecimal",
    "Json",
    "ModelMapper",
    "PostgresQueueSignal",
    "SQLAlchemyBackend",
    "SQLAlchemyEventStore",
    "SQLAlchemyHeartbeatStore",
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
    "unique_unless_archived",
]
