"""Parts of the in-memory backend that implement ports of the advanced package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cqrs_ddd_advanced_core import ProjectionStoreError
from cqrs_ddd_advanced_core.testing.contracts.backend_parts import BackendPartsContract
from cqrs_ddd_core import InMemoryBackend, InvalidOperationError
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork


@pytest.fixture
def backend() -> InMemoryBackend:
    return InMemoryBackend()


class TestInMemoryBackendParts(BackendPartsContract):
    pass


class CreatesEachPartAgain(InMemoryBackend):
    """Wrong variant: creates a part at each request."""

    def part(self, port: Any, default: Callable[[], Any]) -> Any:
        return default()


class CarriesNoProjections(InMemoryBackend):
    """Wrong variant: leaves the projection store out of the units of work."""

    def unit_of_work(self, *, read_only: bool = False) -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(self.event_store, self.outbox, self.inbox)


CONTRACT = BackendPartsContract()


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (
            CreatesEachPartAgain,
            CONTRACT.test_unit_of_work_commits_the_changes_to_all_parts_of_the_backend,
        ),
        (
            CarriesNoProjections,
            CONTRACT.test_unit_of_work_carries_the_projection_store_of_the_backend,
        ),
    ],
)
async def test_backend_parts_contract_catches_each_wrong_backend(
    mutant: type[InMemoryBackend], test: Callable[..., Awaitable[None]]
) -> None:
    with pytest.raises((AssertionError, InvalidOperationError, ProjectionStoreError)):
        await test(mutant())
