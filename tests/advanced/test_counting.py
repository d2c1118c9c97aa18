"""Tests of concurrent increments of one aggregate, over the fakes."""

from __future__ import annotations

import pytest

from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from tests.advanced.counting_kit import CountingKit, NewUnitOfWork
from tests.faults.sizes import INCREMENTS


@pytest.fixture
def times() -> int:
    return INCREMENTS


@pytest.fixture
def parcels() -> InMemoryRepository[Parcel, str]:
    return InMemoryRepository(Parcel)


@pytest.fixture
def new_uow() -> NewUnitOfWork:
    events = InMemoryEventStore()
    return lambda: InMemoryUnitOfWork(events)


class TestInMemoryCounting(CountingKit):
    pass
