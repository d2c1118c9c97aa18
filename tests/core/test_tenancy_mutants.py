"""Tests that the contracts catch a store that ignores the tenant, in any of three ways."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cqrs_ddd_core.adapters.memory import (
    InMemoryBlobStorage,
    InMemoryCacheService,
    InMemoryEventStore,
    InMemoryInbox,
    InMemoryLockStrategy,
    InMemoryOutboxStorage,
    blob_storage,
    cache,
    event_store,
    inbox,
    outbox,
)
from cqrs_ddd_core.context import request_var
from cqrs_ddd_core.primitives.exceptions import CQRSDDDError
from cqrs_ddd_core.spi import leases, tenancy
from cqrs_ddd_core.testing.contracts import tenancy as contracts

STORES: dict[type[Any], tuple[ModuleType, type[Any]]] = {
    contracts.EventStoreTenancyContract: (event_store, InMemoryEventStore),
    contracts.OutboxTenancyContract: (outbox, InMemoryOutboxStorage),
    contracts.InboxTenancyContract: (inbox, InMemoryInbox),
    contracts.CacheTenancyContract: (cache, InMemoryCacheService),
    contracts.LockTenancyContract: (leases, InMemoryLockStrategy),
    contracts.BlobStorageTenancyContract: (blob_storage, InMemoryBlobStorage),
}
SEARCHES = (event_store, outbox, cache)
"""Modules with operations on all rows."""


def ignore_tenant(operation: str) -> str:
    """Return the same tenant for every request."""
    tenancy.get_row_tenant(operation)
    return ""


def accept_system_scope(operation: str) -> str:
    """Take the work for all tenants for the work of a request without a tenant."""
    return request_var.get().tenant_id or ""


def show_all() -> str | None:
    """Return None, which covers the rows of all tenants, in the request of a tenant."""
    return None


MUTANTS: list[dict[str, Any]] = [
    {"get_row_tenant": ignore_tenant},
    {"get_row_tenant": accept_system_scope},
    {"get_visible_tenant": show_all},
]


def list_mutants() -> Iterator[Any]:
    for contract, (module, store) in STORES.items():
        for mutant in MUTANTS:
            if "get_row_tenant" in mutant or module in SEARCHES:
                (function,) = mutant.values()
                name = f"{store.__name__}-{function.__name__}"
                yield pytest.param(contract, module, store, mutant, id=name)


async def is_caught(contract: type[Any], store: type[Any]) -> bool:
    """Report whether a sentence of the contract fails for the store."""
    for name, sentence in inspect.getmembers(contract(), inspect.iscoroutinefunction):
        if name.startswith("test_"):
            made = store()
            try:
                await sentence(**dict.fromkeys(inspect.signature(sentence).parameters, made))
            except (AssertionError, CQRSDDDError, ValueError):
                return True
    return False


@pytest.mark.parametrize("contract", STORES)
async def test_store_with_tenants_fulfils_the_contract(contract: type[Any]) -> None:
    assert not await is_caught(contract, STORES[contract][1])


@pytest.mark.parametrize(("contract", "module", "store", "mutant"), list(list_mutants()))
async def test_contract_catches_a_store_that_ignores_the_tenant(
    contract: type[Any],
    module: ModuleType,
    store: type[Any],
    mutant: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if hasattr(module, "tenancy"):
        monkeypatch.setattr(module, "tenancy", SimpleNamespace(**{**vars(tenancy), **mutant}))
    else:
        for name, function in mutant.items():
            monkeypatch.setattr(module, name, function)

    assert await is_caught(contract, store)
