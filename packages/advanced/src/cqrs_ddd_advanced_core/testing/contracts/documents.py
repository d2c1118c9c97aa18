"""Collections and documents for the contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from itertools import count
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.spi.querying import AllOf

from ...ports.projections import IProjectionStore

NewUnitOfWork = Callable[[], UnitOfWork]

FIELDS: Mapping[str, Any] = MappingProxyType(
    {
        "customer": str,
        "lines": int,
        "weight": float,
        "is_open": bool,
        "total": Decimal,
        "made_at": datetime,
        "day": date,
        "key": UUID,
        "address": dict,
        "tags": list,
    }
)
"""One of each type."""

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Where(Protocol):
    """Makes a specification: ``where("owner", "=", "anna")``; = and < are asked for."""

    def __call__(self, attribute: str, operator: str, value: object) -> ISpecification: ...


class Options(Protocol):
    """Makes query options."""

    def __call__(
        self,
        specification: ISpecification | None = None,
        *,
        ordering: tuple[str, ...] = (),
        limit: int | None = None,
        offset: int = 0,
        distinct: bool = False,
    ) -> IQueryOptions: ...


_collections = count(1)


def new_collection() -> str:
    """One that no other test of this process uses."""
    return f"contract_{next(_collections)}"


async def a_collection(store: IProjectionStore, **fields: Any) -> str:
    collection = new_collection()
    await store.ensure_collection(collection, fields)
    return collection


async def the_document(store: IProjectionStore, collection: str, doc_id: str) -> dict[str, Any]:
    found = await store.get(collection, doc_id)
    assert found is not None, f"{collection} has no document {doc_id}"
    return found


async def everything(store: IProjectionStore, collection: str) -> list[dict[str, Any]]:
    """Of the collection, in no order that could be relied on."""
    found = await (await store.find(collection, AllOf(())))
    return sorted(found, key=repr)
