"""What the application needs from the world outside, as small protocols.

The readers of hierarchies are in ``ports.hierarchy``: they bring the domain services along.
"""

from .background_worker import IBackgroundWorker, IWorkerLifecycle
from .blob_storage import IBlobStorage
from .bus import ICommandBus, IQueryBus
from .cache import ICacheService, ICacheStrategy, IVersionedCache
from .clock import IClock
from .event_dispatcher import IEventDispatcher
from .event_store import (
    ExpectedVersion,
    IEventLog,
    IEventStore,
    IEventStoreProvider,
    StoredEvent,
    StreamId,
)
from .inbox import IInbox, IInboxProvider, InboxEntry
from .locking import (
    ILeasedLock,
    ILockedMessage,
    ILockLease,
    ILockStrategy,
    ResourceIdentifier,
)
from .messaging import IMessageConsumer, IMessagePublisher
from .middleware import IMiddleware, Next, Placement
from .outbox import ILeasedOutbox, IOutboxProvider, IOutboxStorage, OutboxLease, OutboxMessage
from .queue_signal import IQueueSignal
from .repository import IBulkRepository, IRepository
from .search_result import SearchResult
from .unit_of_work import IUnitOfWork, UnitOfWork, get_current_uow
from .upcasting import IEventUpcaster
from .validation import IValidator, ValidationResult

__all__ = [
    "ExpectedVersion",
    "IBackgroundWorker",
    "IBlobStorage",
    "IBulkRepository",
    "ICacheService",
    "ICacheStrategy",
    "IClock",
    "ICommandBus",
    "IEventDispatcher",
    "IEventLog",
    "IEventStore",
    "IEventStoreProvider",
    "IEventUpcaster",
    "IInbox",
    "IInboxProvider",
    "ILeasedLock",
    "ILeasedOutbox",
    "ILockLease",
    "ILockStrategy",
    "ILockedMessage",
    "IMessageConsumer",
    "IMessagePublisher",
    "IMiddleware",
    "IOutboxProvider",
    "IOutboxStorage",
    "IQueryBus",
    "IQueueSignal",
    "IRepository",
    "IUnitOfWork",
    "IValidator",
    "IVersionedCache",
    "IWorkerLifecycle",
    "InboxEntry",
    "Next",
    "OutboxLease",
    "OutboxMessage",
    "Placement",
    "ResourceIdentifier",
    "SearchResult",
    "StoredEvent",
    "StreamId",
    "UnitOfWork",
    "ValidationResult",
    "get_current_uow",
]
