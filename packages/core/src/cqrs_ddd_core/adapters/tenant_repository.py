"""Mixin that limits a repository to one tenant: ``class Orders(MultitenantMixin, Base)``."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from ..context import get_tenant_id
from ..domain import ID, AggregateRoot, IQueryOptions, ISpecification
from ..ports import IBulkRepository, IRepository, SearchResult, UnitOfWork
from ..primitives.exceptions import ConfigError, InvalidOperationError

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

    It comes before the repository that it limits: ``class Orders(MultitenantMixin,
    SQLAlchemyRepository)``. The aggregates have a ``tenant_id``; a new aggregate without one gets
    the tenant of the request, unless the save fails.

    A class behind the mixin has no public methods that the mixin does not limit, unless the
    subclass overrides them, or the class names them in ``tenant_free_methods``, since they read and
    change no aggregates.

    Raises:
        ConfigError: the class definition puts a repository before the mixin, or a method of a class
            behind it is not limited.
        InvalidOperationError: the request has no tenant, the aggregate has another tenant, or a
            stored aggregate has lost its tenant.

    Example:
        ```python
        from cqrs_ddd_core import AggregateRoot, MultitenantMixin
        from cqrs_ddd_core.adapters.memory import InMemoryRepository

        class Note(AggregateRoot[str]):
            tenant_id: str = ""
            text: str

        class Notes(MultitenantMixin, InMemoryRepository[Note, str]):
            pass

        notes = Notes(Note)
        ```
    """

    tenant_free_methods: ClassVar[frozenset[str]] = frozenset()
    """Public methods of a class that read and change no aggregates."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        place = cls.__mro__.index(MultitenantMixin)
        _ensure_first(cls, cls.__mro__[:place])
        _ensure_limited(cls, cls.__mro__[place + 1 :])

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


def _ensure_first(cls: type, before: Sequence[type]) -> None:
    """Raise ``ConfigError`` if a repository precedes the mixin, which then limits nothing."""
    for each in before:
        if issubclass(each, IRepository) and not issubclass(each, MultitenantMixin):
            raise ConfigError(
                f"{cls.__name__} would not be limited to a tenant, since {each.__name__} comes "
                f"before MultitenantMixin; write class {cls.__name__}(MultitenantMixin, "
                f"{each.__name__})"
            )


def _ensure_limited(cls: type, behind: Sequence[type]) -> None:
    """Raise ``ConfigError`` for public methods behind the mixin that reach it by no override."""
    names = {
        name: each.__name__
        for each in behind
        if not issubclass(IBulkRepository, each)  # Its own methods call those of the mixin.
        for name, value in vars(each).items()
        if inspect.isfunction(value)
        and not name.startswith("_")
        and name not in vars(each).get("tenant_free_methods", ())
        and getattr(cls, name) is value
        and "__isabstractmethod__" not in vars(value)
    }
    if names:
        owner, methods = next(iter(names.values())), ", ".join(sorted(names))
        raise ConfigError(
            f"{cls.__name__} would not be limited to a tenant: MultitenantMixin does not know "
            f"{methods} of {owner}; override them in {cls.__name__}, name methods that read and "
            f"change no aggregates in {owner}.tenant_free_methods, or leave the mixin out if "
            f"{owner} limits itself, as an event-sourced repository does by its event store"
        )


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
            if not entity.is_persisted:  # Otherwise it is stored, and only the reply was lost.
                entity.__dict__["tenant_id"] = None
        raise


def _ensure_owner(entity: AggregateRoot, tenant_id: str) -> None:
    owner = _get_owner(entity)
    if owner is None and entity.is_persisted:
        raise InvalidOperationError(
            f"{entity.aggregate_type} {entity.id} was loaded at version {entity.version}, and its "
            "tenant_id was removed; keep the tenant_id that was loaded"
        )
    if owner not in (None, tenant_id):
        raise InvalidOperationError.other_owner(entity.aggregate_type, entity.id)


def _get_owner(entity: AggregateRoot) -> object:
    try:
        return dict(entity)["tenant_id"]
    except KeyError:
        raise InvalidOperationError(
            f"{entity.aggregate_type} has no tenant_id; add the field to store it by tenant"
        ) from None
