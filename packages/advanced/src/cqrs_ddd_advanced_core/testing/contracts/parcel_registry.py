"""What the contract of dispatchers is about: parcels, their read models, and who asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from cqrs_ddd_core.context import get_tenant_id
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError
from cqrs_ddd_core.testing.contracts.parcel import Parcel, make_parcel

from ...persistence.registry import PersistenceRegistry
from ...ports.persistence import IOperationPersistence, IPersistenceDispatcher

T = TypeVar("T")

REFUSED = "refused"
"""A note with which the second handler of the chain refuses a parcel."""


class ParcelSummary(BaseModel):
    """A read model, found by ids and by specifications over ``owner`` and ``grams``."""

    id: str
    owner: str
    grams: int | None = None


@dataclass(frozen=True)
class ParcelLabel:
    """A read model, found by ids."""

    parcel_id: str
    text: str


class RefusesNotes(IOperationPersistence[Parcel, str]):
    """The second handler of the chain."""

    async def persist(self, entity: Parcel, uow: UnitOfWork) -> str:
        if entity.note == REFUSED:
            raise BusinessRuleError(f"{entity.id} has a note that nobody wants")
        return "the answer of the second handler"


def parcel_registry(
    *,
    operation: type[Any],
    retrieval: type[Any],
    query: type[Any],
    query_spec: type[Any],
    labels: type[Any],
) -> PersistenceRegistry:
    """What the contract works with: your handlers of ``Parcel`` and its read models.

    They find what ``visible_owner`` says.
    """
    registry = PersistenceRegistry()
    registry.register_operation(Parcel, RefusesNotes, priority=-1)
    registry.register_operation(Parcel, operation)
    registry.register_retrieval(Parcel, retrieval)
    registry.register_query(ParcelSummary, query)
    registry.register_query_spec(ParcelSummary, query_spec)
    registry.register_query(ParcelLabel, labels, id_attribute="parcel_id")
    return registry


def visible_owner() -> str | None:
    """Whose parcels alone the handlers find; None for all of them."""
    return get_tenant_id()


async def elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """As another request does it, which knows nothing of an open unit of work."""
    return await Context().run(asyncio.ensure_future, work)


async def store_parcel(
    dispatcher: IPersistenceDispatcher, owner: str = "anna", *, grams: int | None = None
) -> Parcel:
    parcel = make_parcel(owner)
    if grams is not None:
        parcel.weigh(grams)  # By an event, so that it may be kept as one.
    await dispatcher.apply(parcel)
    return parcel


async def load_parcel(dispatcher: IPersistenceDispatcher, parcel_id: str) -> Parcel:
    found = await dispatcher.fetch_domain(Parcel, [parcel_id])
    assert len(found) == 1, f"{parcel_id} is not stored"
    return found[0]


async def summaries(
    dispatcher: IPersistenceDispatcher, ids: list[str], uow: UnitOfWork | None = None
) -> list[ParcelSummary]:
    return await (await dispatcher.fetch(ParcelSummary, ids, uow=uow))


async def seen(
    dispatcher: IPersistenceDispatcher, parcel_id: str, uow: UnitOfWork | None = None
) -> tuple[int | None, int | None, str]:
    """The weight in the aggregate and in both read models."""
    (parcel,) = await dispatcher.fetch_domain(Parcel, [parcel_id], uow=uow)
    (summary,) = await summaries(dispatcher, [parcel_id], uow)
    (label,) = await (await dispatcher.fetch(ParcelLabel, [parcel_id], uow=uow))
    return parcel.grams, summary.grams, label.text
