"""Fields, collections and queries for the contract of projection stores."""

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
"""One field of each type that a collection can declare."""

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Where(Protocol):
    """Factory of specifications with ``=`` and ``<``: ``where("owner", "=", "anna")``."""

    def __call__(self, attribute: str, operator: str, value: object) -> ISpecification: ...


class Options(Protocol):
    """Factory of query options."""

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
    """Return a collection name that no other test of this process uses."""
    return f"contract_{next(_collections)}"


async def create_collection(store: IProjectionStore, **fields: Any) -> str:
    """Create a collection with a new name and the given fields; return the name."""
    collection = new_collection()
    await store.ensure_collection(collection, fields)
    return collection


async def get_document(store: IProjectionStore, collection: str, doc_id: str) -> dict[str, Any]:
    """Return the document, asserting that it exists."""
    found = await store.get(collection, doc_id)
    assert found is not None, f"{collection} has no document {doc_id}"
    return found


async def all_documents(store: IProjectionStore, collection: str) -> list[dict[str, Any]]:
    """Return all documents of the collection, sorted by their text."""
    found = await (await store.find(collection, AllOf(())))
    return sorted(found, key=repr)
