"""Fakes that behave as the database adapters do; the same contracts test both."""

from .backend import InMemoryBackend
from .background_worker import InMemoryBackgroundWorker
from .blob_storage import InMemoryBlobStorage
from .cache import InMemoryCacheService
from .clock import FakeClock
from .event_store import InMemoryEventStore
from .heartbeats import InMemoryHeartbeatStore
from .hierarchy import InMemoryHierarchy
from .id_generator import SequentialIdGenerator
from .inbox import InMemoryInbox
from .locking import InMemoryLockStrategy
from .messaging import InMemoryMessageBus
from .outbox import InMemoryOutboxStorage
from .queue_signal import InMemoryQueueSignal
from .repository import InMemoryRepository
from .unit_of_work import InMemoryUnitOfWork

__all__ = [
    "FakeClock",
    "InMemoryBackend",
    "InMemoryBackgroundWorker",
    "InMemoryBlobStorage",
    "InMemoryCacheService",
    "InMemoryEventStore",
    "InMemoryHeartbeatStore",
    "InMemoryHierarchy",
    "InMemoryInbox",
    "InMemoryLockStrategy",
    "InMemoryMessageBus",
    "InMemoryOutboxStorage",
    "InMemoryQueueSignal",
    "InMemoryRepository",
    "InMemoryUnitOfWork",
    "SequentialIdGenerator",
]
