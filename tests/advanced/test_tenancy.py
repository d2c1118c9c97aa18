"""Tests of tenants in dispatcher and projections, and of the contracts by naive stores."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from cqrs_ddd_advanced_core.adapters.memory import (
    InMemoryDeadLetterStore,
    InMemoryProjectionStore,
    InMemorySnapshotStore,
    dead_letters,
    projections,
    snapshots,
)
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository, loader
from cqrs_ddd_advanced_core.persistence import (
    PersistenceDispatcher,
    PersistenceRegistry,
    dispatcher,
)
from cqrs_ddd_advanced_core.ports.persistence import IOperationPersistence, IRetrievalPersistence
from cqrs_ddd_advanced_core.projections import LiveProjection
from cqrs_ddd_advanced_core.testing.contracts import tenancy as contracts
from cqrs_ddd_core import (
    AggregateRoot,
    ConfigError,
    InvalidOperationError,
    MultitenantMixin,
    UnitOfWork,
    request_context,
    system_tenant,
)
from cqrs_ddd_core.adapters.memory import InMemoryEventStore, InMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import CQRSDDDError
from cqrs_ddd_core.testing.contracts.tenancy import TENANTS
from tests.advanced.till_domain import Tills, new_till, open_and_sell, to_stored
from tests.core.test_tenancy_mutants import accept_system_scope, ignore_tenant, show_all


class Letter(AggregateRoot[str]):
    tenant_id: str | None = None


class AllLetters(IOperationPersistence[Letter, str], IRetrievalPersistence[Letter, str]):
    """Handler of a table that is not limited to a tenant."""

    async def persist(self, entity: Letter, uow: UnitOfWork) -> str:
        return entity.id

    async def retrieve(self, ids: Sequence[str], uow: UnitOfWork) -> list[Letter]:
        owners = {"1": "north", "2": "south", "3": None}
        return [Letter(id=each, tenant_id=owners[each]) for each in ids]


def create_dispatcher() -> PersistenceDispatcher:
    registry = PersistenceRegistry()
    registry.register_operation(Letter, AllLetters)
    registry.register_retrieval(Letter, AllLetters)
    return PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)


async def check_dispatcher() -> None:
    letters = create_dispatcher()
    for tenant, found in (("north", ["1", "3"]), ("south", ["2", "3"]), (None, ["3"])):
        with request_context(tenant_id=tenant):
            fetched = await letters.fetch_domain(Letter, ["1", "2", "3"])
            assert [each.id for each in fetched] == found
            for letter in (Letter(id="1", tenant_id="north"), Letter(id="2", tenant_id="south")):
                if letter.tenant_id == tenant:
                    assert await letters.apply(letter) == letter.id
                else:
                    with pytest.raises(InvalidOperationError, match="belongs to another tenant"):
                        await letters.apply(letter)


async def test_dispatcher_does_not_store_or_return_aggregates_of_another_tenant() -> None:
    await check_dispatcher()


async def test_check_catches_a_dispatcher_that_trusts_its_handlers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "_is_of", lambda entity, tenant_id: True)

    with pytest.raises(AssertionError):
        await check_dispatcher()


def test_event_sourced_repository_behind_the_tenant_mixin_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"load, persist, retrieve .* by its event store"):

        class Letters(  # type: ignore[misc]
            MultitenantMixin[Letter, str], EventSourcedRepository[Letter, str]
        ):
            pass


async def test_live_projection_applies_the_events_of_the_own_tenant() -> None:
    events, till = InMemoryEventStore(), new_till()
    for cents, each in enumerate(TENANTS, 1):
        with request_context(tenant_id=each):
            await events.append_batch(to_stored(till, open_and_sell(cents)))
    live = LiveProjection(Tills(), events)

    for cents, each in enumerate(TENANTS, 1):
        with request_context(tenant_id=each):
            document = await live.get(till.aggregate_id)
            assert document is not None
            assert document["cents"] == cents
            assert await live.get_all() == {till.aggregate_id: document}
    with system_tenant():
        for call in (live.get(till.aggregate_id), live.get_all()):
            with pytest.raises(InvalidOperationError):
                await call


STORES: dict[type[Any], tuple[ModuleType, str, type[Any]]] = {
    contracts.SnapshotTenancyContract: (snapshots, "snapshots", InMemorySnapshotStore),
    contracts.ProjectionTenancyContract: (projections, "store", InMemoryProjectionStore),
    contracts.DeadLetterTenancyContract: (dead_letters, "dead_letters", InMemoryDeadLetterStore),
}
MUTANTS: list[tuple[type[Any], str, Any]] = [
    *((contract, "get_row_tenant", ignore_tenant) for contract in STORES),
    *((contract, "get_row_tenant", accept_system_scope) for contract in STORES),
    (contracts.ProjectionTenancyContract, "get_visible_tenant", show_all),
    (contracts.ProjectionTenancyContract, "ensure_all_tenants", lambda operation: None),
    (contracts.DeadLetterTenancyContract, "get_visible_tenant", show_all),
    (contracts.DeadLetterTenancyContract, "ensure_visible", lambda tenant_id, subject: None),
]


async def is_caught(contract: type[Any]) -> bool:
    """Report whether a sentence of the contract fails for the fake."""
    _, fixture, store = STORES[contract]
    for name, sentence in inspect.getmembers(contract(), inspect.iscoroutinefunction):
        if name.startswith("test_"):
            given = {fixture: store(), "new_uow": InMemoryUnitOfWork}
            wanted = inspect.signature(sentence).parameters
            try:
                await sentence(**{each: given[each] for each in wanted})
            except (AssertionError, CQRSDDDError, ValueError):
                return True
    return False


@pytest.mark.parametrize("contract", STORES)
async def test_store_with_tenants_fulfils_the_contract(contract: type[Any]) -> None:
    assert not await is_caught(contract)


@pytest.mark.parametrize(("contract", "name", "naive"), MUTANTS)
async def test_contract_catches_a_store_that_ignores_the_tenant(
    contract: type[Any], name: str, naive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STORES[contract][0], name, naive)

    assert await is_caught(contract)


async def test_contract_catches_a_snapshot_of_the_tenant_of_the_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loader, "bind_request", lambda work: work)
    events = InMemoryEventStore()

    contract = contracts.EventSourcingTenancyContract()

    with pytest.raises(AssertionError):
        await contract.test_snapshot_belongs_to_the_tenant_of_the_load_not_of_the_commit(
            lambda: InMemoryUnitOfWork(event_store=events), InMemorySnapshotStore()
        )
