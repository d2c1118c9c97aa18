"""Fakes that behave as the database adapters do; one suite of contracts judges both."""

from .clock import FakeClock
from .event_store import InMemoryEventStore
from .id_generator import SequentialIdGenerator
from .locking import InMemoryLockStrategy
from .repository import InMemoryRepository
from .unit_of_work import InMemoryUnitOfWork

__all__ = [
    "FakeClock",
    "InMemoryEventStore",
    "InMemoryLockStrategy",
    "InMemoryRepository",
    "InMemoryUnitOfWork",
    "SequentialIdGenerator",
]
