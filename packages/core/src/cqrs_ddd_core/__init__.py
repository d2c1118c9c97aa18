"""Building blocks for domain-driven, CQRS and event-sourced applications."""

from .correlation import correlation_scope, get_causation_id, get_correlation_id
from .cqrs import (
    Command,
    CommandHandler,
    CommandResponse,
    EventDispatcher,
    EventHandler,
    HandlerRegistry,
    Mediator,
    MessageRegistry,
    Query,
    QueryHandler,
    QueryResponse,
)
from .domain import (
    AggregateRoot,
    ArchivableMixin,
    AuditableMixin,
    DomainEvent,
    EventTypeRegistry,
    IQueryOptions,
    ISpecification,
    ValueObject,
    when,
)
from .middleware import EventStorePersistenceMiddleware, LoggingMiddleware, ValidatorMiddleware
from .ports.event_store import ExpectedVersion, IEventStore, StoredEvent, StreamId
from .ports.middleware import IMiddleware
from .ports.repository import IRepository
from .ports.search_result import SearchResult
from .ports.unit_of_work import UnitOfWork, get_current_uow
from .primitives.exceptions import CQRSDDDError
from .primitives.result import Failure, Result, Success

__all__ = [
    "AggregateRoot",
    "ArchivableMixin",
    "AuditableMixin",
    "CQRSDDDError",
    "Command",
    "CommandHandler",
    "CommandResponse",
    "DomainEvent",
    "EventDispatcher",
    "EventHandler",
    "EventStorePersistenceMiddleware",
    "EventTypeRegistry",
    "ExpectedVersion",
    "Failure",
    "HandlerRegistry",
    "IEventStore",
    "IMiddleware",
    "IQueryOptions",
    "IRepository",
    "ISpecification",
    "LoggingMiddleware",
    "Mediator",
    "MessageRegistry",
    "Query",
    "QueryHandler",
    "QueryResponse",
    "Result",
    "SearchResult",
    "StoredEvent",
    "StreamId",
    "Success",
    "UnitOfWork",
    "ValidatorMiddleware",
    "ValueObject",
    "correlation_scope",
    "get_causation_id",
    "get_correlation_id",
    "get_current_uow",
    "when",
]
