"""Import lines that the documentation promises, each run in a fresh namespace."""

from __future__ import annotations

import pytest

IMPORT_LINES = (
    "from cqrs_ddd_core.domain.aggregate import AggregateRoot",
    "from cqrs_ddd_core.domain.events import DomainEvent",
    "from cqrs_ddd_core.ports.background_worker import IBackgroundWorker",
    "from cqrs_ddd_core.ports.cache import ICacheService",
    "from cqrs_ddd_core.ports.cache import ICacheStrategy",
    "from cqrs_ddd_core.ports.event_store import IEventStore, StoredEvent",
    "from cqrs_ddd_core.ports.locking import ILockStrategy",
    "from cqrs_ddd_core.ports.outbox import IOutboxStorage, OutboxMessage",
    "from cqrs_ddd_core.ports.repository import IRepository",
    "from cqrs_ddd_core.ports.search_result import SearchResult",
    "from cqrs_ddd_core.ports.unit_of_work import UnitOfWork",
    "from cqrs_ddd_core.ports.validation import IValidator",
    "from cqrs_ddd_specifications import SpecificationBuilder, QueryOptions",
    "from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository",
    "from cqrs_ddd_advanced_core.persistence import CachingPersistenceDispatcher",
    "from cqrs_ddd_advanced_core.persistence import PersistenceRegistry",
    "from cqrs_ddd_advanced_core.persistence import PersistenceRegistry, PersistenceDispatcher",
    """\
from cqrs_ddd_advanced_core.persistence import (
    PersistenceDispatcher,
    PersistenceRegistry,
)""",
    "from cqrs_ddd_advanced_core.projections import ProjectionBackedDualPersistence",
    """\
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyProjectionStore,
    SQLAlchemyProjectionDualPersistence,
)""",
)


def run(line: str) -> None:
    exec(line, {})  # noqa: S102 - the lines are literals of this file


@pytest.mark.parametrize("line", IMPORT_LINES)
def test_documented_import_line_works(line: str) -> None:
    run(line)


def test_documented_import_check_fails_for_a_missing_name() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Missing'"):
        run("from cqrs_ddd_core.domain.events import Missing")
