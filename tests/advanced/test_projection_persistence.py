"""Tests of the query roles over documents in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemoryProjectionStore
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.adapters.memory.transaction import InMemoryTransaction
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from tests.advanced.projection_roles_kit import OrderSummaryQueryPersistence, ProjectionRolesKit


@pytest.fixture
def new_uow() -> Callable[[], InMemoryUnitOfWork]:
    store = InMemoryProjectionStore()
    return lambda: InMemoryUnitOfWork(projections=store)


class TestInMemoryProjectionRoles(ProjectionRolesKit):
    pass


async def test_unit_of_work_without_a_projection_store_is_an_error_with_the_remedy() -> None:
    async with InMemoryTransaction() as uow:
        with pytest.raises(InvalidOperationError, match="has no projection store"):
            await OrderSummaryQueryPersistence().fetch(["order_1"], uow)
    async with InMemoryUnitOfWork() as uow:
        with pytest.raises(InvalidOperationError, match="projections=InMemoryProjectionStore"):
            await OrderSummaryQueryPersistence().fetch(["order_1"], uow)
