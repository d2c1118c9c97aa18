"""Parts of a backend that implement ports of the advanced package."""

from __future__ import annotations

from collections.abc import Mapping

from cqrs_ddd_advanced_core import ports
from cqrs_ddd_core import IQueueSignal

from ..engine import SessionFactory
from ..schema.tables import Tables
from .dead_letters import SQLAlchemyDeadLetterStore
from .positions.store import SQLAlchemyPositionStore
from .projections.store import SQLAlchemyProjectionStore
from .snapshots import SQLAlchemySnapshotStore


def create_parts(
    session_factory: SessionFactory, tables: Tables, signal: IQueueSignal | None
) -> Mapping[object, object]:
    """Return the adapters by their ports."""
    return {
        ports.IDeadLetterStore: SQLAlchemyDeadLetterStore(session_factory, tables=tables),
        ports.IPositionStore: SQLAlchemyPositionStore(
            session_factory, tables=tables, signal=signal
        ),
        ports.IProjectionStore: SQLAlchemyProjectionStore(session_factory, tables=tables),
        ports.ISnapshotStore: SQLAlchemySnapshotStore(session_factory, tables=tables),
    }
