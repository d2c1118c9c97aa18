"""Handlers of the parcels of the dispatcher contract, over a repository in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from cqrs_ddd_advanced_core import (
    IOperationPersistence,
    IQueryPersistence,
    IQuerySpecificationPersistence,
    IRetrievalPersistence,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from cqrs_ddd_advanced_core.testing.contracts.parcel_registry import (
    ParcelLabel,
    ParcelSummary,
    RejectingPersistence,
    parcel_registry,
    visible_owner,
)
from cqrs_ddd_core import SearchResult, UnitOfWork
from cqrs_ddd_core.adapters.memory import InMemoryRepository, InMemoryUnitOfWork
from cqrs_ddd_core.testing.contracts.parcel import Parcel


class CountedParcels(InMemoryRepository[Parcel, str]):
    """Repository that records the ids of each read and returns after a random delay."""

    def __init__(self) -> None:
        super().__init__(Parcel)
        self.reads: list[list[str] | None] = []
        self._random = Random(20261121)

    async def list_all(
        self, entity_ids: list[str] | None = None, uow: UnitOfWork | None = None
    ) -> list[Parcel]:
        self.reads.append(entity_ids)
        found = await super().list_all(entity_ids, uow)
        for _ in range(self._random.randrange(20)):
            await asyncio.sleep(0)
        owner = visible_owner()
        return [each for each in found if owner in (None, each.owner)]


class Handler:
    def __init__(self, parcels: CountedParcels) -> None:
        self._parcels = parcels


class ParcelPersistence(
    Handler, IOperationPersistence[Parcel, str], IRetrievalPersistence[Parcel, str]
):
    async def persist(self, entity: Parcel, uow: UnitOfWork) -> str:
        return await self._parcels.add(entity, uow)

    async def retrieve(self, ids: Sequence[str], uow: UnitOfWork) -> list[Parcel]:
        # In the order of a naive SQL IN, not in the order of the ids.
        return sorted(await self._parcels.list_all(list(ids), uow), key=lambda each: each.id)


class SummaryQuery(Handler, IQueryPersistence[ParcelSummary, str]):
    async def fetch(self, ids: Sequence[str], uow: UnitOfWork) -> list[ParcelSummary]:
        found = await self._parcels.list_all(list(ids), uow)
        return sorted(map(summary_of, found), key=lambda each: each.id)


class SummarySearch(Handler, IQuerySpecificationPersistence[ParcelSummary]):
    async def fetch(self, criteria: Any, uow: UnitOfWork) -> SearchResult[ParcelSummary]:
        found = await (await self._parcels.search(criteria, uow))
        owner = visible_owner()
        return SearchResult.from_items(summary_of(p) for p in found if owner in (None, p.owner))


class LabelQuery(Handler, IQueryPersistence[ParcelLabel, str]):
    async def fetch(self, ids: Sequence[str], uow: UnitOfWork) -> list[ParcelLabel]:
        found = await self._parcels.list_all(list(ids), uow)
        return [ParcelLabel(p.id, f"{p.owner}: {p.grams}") for p in reversed(found)]


def summary_of(parcel: Parcel) -> ParcelSummary:
    return ParcelSummary(id=parcel.id, owner=parcel.owner, grams=parcel.grams)


def in_memory_registry() -> PersistenceRegistry:
    return parcel_registry(
        operation=ParcelPersistence,
        retrieval=ParcelPersistence,
        query=SummaryQuery,
        query_spec=SummarySearch,
        labels=LabelQuery,
    )


def in_memory_dispatcher(
    parcels: CountedParcels, kind: Callable[..., PersistenceDispatcher] = PersistenceDispatcher
) -> PersistenceDispatcher:
    return kind(
        uow_factories={"default": InMemoryUnitOfWork},
        registry=in_memory_registry(),
        handler_factory=lambda cls: (
            RejectingPersistence() if cls is RejectingPersistence else cls(parcels)
        ),
    )
