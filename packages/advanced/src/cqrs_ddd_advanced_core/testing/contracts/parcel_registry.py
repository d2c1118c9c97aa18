"""Parcels, their query results and helpers for the contract of persistence dispatchers."""

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

REJECTED = "rejected"
"""Note of parcels that the second handler of the chain rejects."""


class ParcelSummary(BaseModel):
    """Query result, found by ids and by specifications over ``owner`` and ``grams``."""

    id: str
    owner: str
    grams: int | None = None


@dataclass(frozen=True)
class ParcelLabel:
    """Query result, found by ids."""

    parcel_id: str
    text: str


class RejectingPersistence(IOperationPersistence[Parcel, str]):
    """Second handler of the chain, which rejects parcels with the note ``REJECTED``."""

    async def persist(self, entity: Parcel, uow: UnitOfWork) -> str:
        if entity.note == REJECTED:
            raise BusinessRuleError(f"parcel {entity.id} has the note {REJECTED!r}")
        return "result of the second handler"


def parcel_registry(
    *,
    operation: type[Any],
    retrieval: type[Any],
    query: type[Any],
    query_spec: type[Any],
    labels: type[Any],
) -> PersistenceRegistry:
    """Register your handlers of ``Parcel`` and of its query results for the contract.

    The handlers that read find only parcels of the owner that ``visible_owner`` returns.

    Args:
        operation: stores a ``Parcel``.
        retrieval: loads parcels by ids.
        query: returns ``ParcelSummary`` by ids.
        query_spec: returns ``ParcelSummary`` by specifications and query options.
        labels: returns ``ParcelLabel`` by ids, with the text ``"<owner>: <grams>"``.
    """
    registry = PersistenceRegistry()
    registry.register_operation(Parcel, RejectingPersistence, priority=-1)
    registry.register_operation(Parcel, operation)
    registry.register_retrieval(Parcel, retrieval)
    registry.register_query(ParcelSummary, query)
    registry.register_query_spec(ParcelSummary, query_spec)
    registry.register_query(ParcelLabel, labels, id_attribute="parcel_id")
    return registry


def visible_owner() -> str | None:
    """Return the only owner with parcels that the handlers find, or None for all owners."""
    return get_tenant_id()


async def run_in_new_context(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine as another request: in a context without an open unit of work."""
    return await Context().run(asyncio.ensure_future, work)


async def store_parcel(
    dispatcher: IPersistenceDispatcher, owner: str = "anna", *, grams: int | None = None
) -> Parcel:
    """Apply a new parcel and return it."""
    parcel = make_parcel(owner)
    if grams is not None:
        parcel.weigh(grams)  # Through an event, as event-sourced handlers store events only.
    await dispatcher.apply(parcel)
    return parcel


async def load_parcel(dispatcher: IPersistenceDispatcher, parcel_id: str) -> Parcel:
    """Fetch the parcel, asserting that it is stored."""
    found = await dispatcher.fetch_domain(Parcel, [parcel_id])
    assert len(found) == 1, f"{parcel_id} is not stored"
    return found[0]


async def fetch_summaries(
    dispatcher: IPersistenceDispatcher, ids: list[str], uow: UnitOfWork | None = None
) -> list[ParcelSummary]:
    """Fetch the summaries of the parcels with these ids."""
    return await (await dispatcher.fetch(ParcelSummary, ids, uow=uow))


async def read_parcel(
    dispatcher: IPersistenceDispatcher, parcel_id: str, uow: UnitOfWork | None = None
) -> tuple[int | None, int | None, str]:
    """Return the weight in the aggregate, in the summary and in the label."""
    (parcel,) = await dispatcher.fetch_domain(Parcel, [parcel_id], uow=uow)
    (summary,) = await fetch_summaries(dispatcher, [parcel_id], uow)
    (label,) = await (await dispatcher.fetch(ParcelLabel, [parcel_id], uow=uow))
    return parcel.grams, summary.grams, label.text
