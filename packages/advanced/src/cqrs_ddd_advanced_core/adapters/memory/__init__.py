"""In-memory fakes that pass the same contract tests as the database adapters."""

from .dead_letters import InMemoryDeadLetterStore
from .positions import InMemoryPositionStore
from .projections import InMemoryProjectionStore
from .snapshots import InMemorySnapshotStore

__all__ = [
    "InMemoryDeadLetterStore",
    "InMemoryPositionStore",
    "InMemoryProjectionStore",
    "InMemorySnapshotStore",
]
