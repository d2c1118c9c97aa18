"""Mixin that limits a repository to one tenant: ``class Orders(MultitenantMixin, Base)``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..context import get_tenant_id
from ..domain import ID, AggregateRoot, IQueryOptions, ISpecification
from ..ports import IRepository, SearchResult, UnitOfWork
from ..primitives.exceptions import InvalidOperationError

T = TypeVar("T", bound=AggregateRoot)


@dataclass(frozen=True)
class TenantSpecification(ISpecification):
    """Specification of the objects of a tenant that satisfy a further specification.

    Attributes:
        tenant_id: id of the tenant.
        specification: further specification, or None.
    """

    tenant_id: str
    specification: ISpecification | None = None

    def is_satisfied_by(self, candidate: Any) -> bool:
        """Return whether the candidate belongs to the tenant and satisfies the specification."""
        return candidate.tenant_id == self.tenant_id and (
            self.specification is None or self.specification.is_satisfied_by(candidate)
        )


class MultitenantMixin(IRepository[T, ID], Generic[T, ID]):
    """Repository mixin that reads and changes only aggregates of the request's tenant.

    The aggregates have a ``tenant_id``; a new aggregate without one gets the tenant of the request,
    unless the save fails.

    Raises:
        InvalidOperationError: the request has no tenant, the aggregate has another tenant, or a
            stored aggregate has lost its tenant.
    """

    def build_tenant_specification(
        self, tenant_id: str, specification: ISpecification[T] | None
    ) -> ISpecification[T]:
        """Return the condition of a search; override it for specifications that compile to SQL."""
        return TenantSpecification(tenant_id, specification)

    def row_scope(self) -> ISpecification[T] | None:
        """Return the condition that the repository below may add to each statement."""
        return TenantSpecification(_get_tenant())

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        """Save an aggregate of the tenant; a new one gets the tenant of the request."""
        with _assign_tenant([entity], _get_tenant()):
            return await super().add(entity, uow)  # type: ignore[safe-super]

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """Save all aggregates of the tenant, or none.

        Raises:
            InvalidOperationError: the repository below is not an ``IBulkRepository``.
        """
        tenant_id = _get_tenant()
        try:
            add_many = super().add_many  # type: ignore[misc]
        except AttributeError:
            raise InvalidOperationError.no_add_many(type(self).__name__) from None
        with _assign_tenant(entities, tenant_id):
            added: list[ID] = await add_many(entities, uow)
        return added

    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        """Return the aggregate, or None if it belongs to another tenant."""
        tenant_id = _get_tenant()
        found = await super().get(entity_id, uow)  # type: ignore[safe-super]
        return found if found is not None and _get_owner(found) == tenant_id else None

    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        """Delete the aggregate; do nothing if it belongs to another tenant."""
        if await self.get(entity_id, uow) is None:
            return entity_id
        return await super().delete(entity_id, uow)  # type: ignore[safe-super]

    async def list_all(
        self, entity_ids: list[ID] | None = None, uow: UnitOfWork | None = None
    ) -> list[T]:
        """Return the aggregates of the tenant with these ids, or all aggregates of the tenant."""
        tenant_id = _get_tenant()
        if entity_ids is None:
            mine = self.build_tenant_specification(tenant_id, None)
            return await (await super().search(mine, uow))  # type: ignore[safe-super]
        found = await super().list_all(entity_ids, uow)  # type: ignore[safe-super]
        return [entity for entity in found if _get_owner(entity) == tenant_id]

    async def search(
        self, criteria: ISpecification[T] | IQueryOptions[T], uow: UnitOfWork | None = None
    ) -> SearchResult[T]:
        """Search the aggregates of the tenant."""
        tenant_id = _get_tenant()
        if isinstance(criteria, IQueryOptions):
            mine = self.build_tenant_specification(tenant_id, criteria.specification)
            criteria = criteria.with_specification(mine)
        elif isinstance(criteria, ISpecification):
            criteria = self.build_tenant_specification(tenant_id, criteria)
        return await super().search(criteria, uow)  # type: ignore[safe-super]


def _get_tenant() -> str:
    tenant_id = get_tenant_id()
    if tenant_id is None:
        raise InvalidOperationError(
            "the request has no tenant; run it inside request_context(tenant_id=...)"
        )
    return tenant_id


@contextmanager
def _assign_tenant(entities: Sequence[AggregateRoot], tenant_id: str) -> Iterator[None]:
    """Set the tenant on new aggregates, and undo it if the block fails.

    An aggregate of another tenant raises an error before any aggregate is changed.
    """
    for entity in entities:
        _ensure_owner(entity, tenant_id)
    new = [entity for entity in entities if _get_owner(entity) is None]
    for entity in new:
        entity.__dict__["tenant_id"] = tenant_id
    try:
        yield
    except BaseException:
        for entity in new:
            if not entity.version:  # With a version it is stored, and only the reply was lost.
                entity.__dict__["tenant_id"] = None
        raise


def _ensure_owner(entity: AggregateRoot, tenant_id: str) -> None:
    owner = _get_owner(entity)
    if owner is None and entity.version:
        raise InvalidOperationError(
            f"{entity.aggregate_type} {entity.id} was loaded at version {entity.version}, and its "
            "tenant_id was removed; keep the tenant_id that was loaded"
        )
    if owner not in (None, tenant_id):
        raise InvalidOperationError(
            f"{entity.aggregate_type} {entity.id} belongs to another tenant than the request; "
            "save it in a request of its own tenant"
        )


def _get_owner(entity: AggregateRoot) -> object:
    try:
        return dict(entity)["tenant_id"]
    except KeyError:
        raise InvalidOperationError(
            f"{entity.aggregate_type} has no tenant_id; add the field to store it by tenant"
        ) from None
