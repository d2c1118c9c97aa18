"""Ports of projections, snapshots, merge strategies and the persistence dispatcher."""

from .conflict import ABSENT, IMergeStrategy
from .dead_letters import DeadLetter, DeadLetterCount, DeadLetterState, IDeadLetterStore
from .persistence import (
    IOperationPersistence,
    IPersistenceDispatcher,
    IQueryPersistence,
    IQuerySpecificationPersistence,
    IResultCatalog,
    IRetrievalPersistence,
)
from .positions import PROJECTIONS_CHANNEL, Checkpoint, IPositionStore, ProjectionPosition
from .projections import DOC_ID, Document, Fields, IProjectionStore, IProjectionStoreProvider
from .snapshots import ISnapshotStore, Snapshot

__all__ = [
    "ABSENT",
    "DOC_ID",
    "PROJECTIONS_CHANNEL",
    "Checkpoint",
    "DeadLetter",
    "DeadLetterCount",
    "DeadLetterState",
    "Document",
    "Fields",
    "IDeadLetterStore",
    "IMergeStrategy",
    "IOperationPersistence",
    "IPersistenceDispatcher",
    "IPositionStore",
    "IProjectionStore",
    "IProjectionStoreProvider",
    "IQueryPersistence",
    "IQuerySpecificationPersistence",
    "IResultCatalog",
    "IRetrievalPersistence",
    "ISnapshotStore",
    "ProjectionPosition",
    "Snapshot",
]
