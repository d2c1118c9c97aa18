"""Tests of projections over the fakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqrs_ddd_advanced_core.adapters.memory import (
    InMemoryDeadLetterStore,
    InMemoryPositionStore,
    InMemoryProjectionStore,
)
from cqrs_ddd_core.adapters.memory import InMemoryEventStore, InMemoryUnitOfWork
from tests.advanced.inline_kit import InlineProjectionKit
from tests.advanced.lag_kit import ProjectionLagKit
from tests.advanced.projection_environment import ProjectionEnvironment
from tests.advanced.projection_kit import ProjectionWorkerKit
from tests.advanced.rebuild_kit import ProjectionRebuildKit


@pytest.fixture
def environment() -> ProjectionEnvironment:
    events, store = InMemoryEventStore(), InMemoryProjectionStore()
    new_uow: Callable[[], InMemoryUnitOfWork] = lambda: InMemoryUnitOfWork(  # noqa: E731
        event_store=events, projections=store
    )
    return ProjectionEnvironment(
        events, store, InMemoryPositionStore(), InMemoryDeadLetterStore(), new_uow
    )


class TestProjectionWorker(ProjectionWorkerKit):
    pass


class TestProjectionRebuild(ProjectionRebuildKit):
    pass


class TestInlineProjection(InlineProjectionKit):
    pass


class TestProjectionLag(ProjectionLagKit):
    pass
