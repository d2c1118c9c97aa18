"""Fakes that behave as the database adapters do; one suite of contracts judges both."""

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
