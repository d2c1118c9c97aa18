"""Aggregates, events, value objects and specifications: the vocabulary of the domain model."""

from .aggregate import ID, AggregateRoot
from .event_handlers import when
from .events import DomainEvent, EventTypeRegistry
from .mixins import ArchivableMixin, AuditableMixin
from .specification import ICompiledSpecification, IQueryOptions, ISpecification
from .value_object import ValueObject

__all__ = [
    "ID",
    "AggregateRoot",
    "ArchivableMixin",
    "AuditableMixin",
    "DomainEvent",
    "EventTypeRegistry",
    "ICompiledSpecification",
    "IQueryOptions",
    "ISpecification",
    "ValueObject",
    "when",
]
