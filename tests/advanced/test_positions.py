"""Tests of the position store in memory."""

from __future__ import annotations

import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemoryPositionStore
from cqrs_ddd_advanced_core.testing.contracts.positions import PositionStoreContract
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork


@pytest.fixture
def positions() -> InMemoryPositionStore:
    return InMemoryPositionStore()


@pytest.fixture
def new_uow() -> type[InMemoryUnitOfWork]:
    return InMemoryUnitOfWork


class TestInMemoryPositionStore(PositionStoreContract):
    pass
