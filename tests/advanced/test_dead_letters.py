"""Tests of the dead-letter store in memory."""

from __future__ import annotations

import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemoryDeadLetterStore
from cqrs_ddd_advanced_core.testing.contracts.dead_letters import DeadLetterStoreContract
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork


@pytest.fixture
def dead_letters() -> InMemoryDeadLetterStore:
    return InMemoryDeadLetterStore()


@pytest.fixture
def new_uow() -> type[InMemoryUnitOfWork]:
    return InMemoryUnitOfWork


class TestInMemoryDeadLetterStore(DeadLetterStoreContract):
    pass
