"""Tests of the projection store in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemoryProjectionStore
from cqrs_ddd_advanced_core.testing.contracts.documents import Options, Where
from cqrs_ddd_advanced_core.testing.contracts.projections import (
    ProjectionStoreContract,
    ReadOnlyProjectionStoreContract,
)
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions


@pytest.fixture
def store() -> InMemoryProjectionStore:
    return InMemoryProjectionStore()


@pytest.fixture
def new_uow(store: InMemoryProjectionStore) -> Callable[[], InMemoryUnitOfWork]:
    return lambda: InMemoryUnitOfWork(projections=store)


@pytest.fixture
def new_read_only_uow(store: InMemoryProjectionStore) -> Callable[[], InMemoryUnitOfWork]:
    return lambda: InMemoryUnitOfWork(projections=store, read_only=True)


@pytest.fixture
def where() -> Where:
    return AttributeSpecification


@pytest.fixture
def options() -> Options:
    return QueryOptions


class TestInMemoryProjectionStore(ProjectionStoreContract, ReadOnlyProjectionStoreContract):
    pass
