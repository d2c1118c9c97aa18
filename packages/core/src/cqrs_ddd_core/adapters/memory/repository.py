"""In-memory repository with transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...domain import ID, AggregateRoot, IQueryOptions, ISpecification
from ...ports import IBulkRepository, SearchResult, UnitOfWork
from ...primitives import exceptions
from ...spi import checks, querying
from ...unit_of_work import TrackedAggregates
from .transaction import ChangeSet, InMemoryTransaction, join_transaction

T = TypeVar("T", bound=AggregateRoot)


@dataclass(frozen=True)
class _Row(Generic[T]):
    state: T
    version: int


class InMemoryRepository(IBulkRepository[T, ID], Generic[T, ID]):
    """In-memory repository, which stores and returns copies.

    Args:
        entity_type: class of the aggregates.

    Raises:
        ConfigError: ``entity_type`` is not a class of aggregates.
    """

    def __init__(self, entity_type: type[T]) -> None:
        super().__init__()
        exceptions.arguments.ensure_class(entity_type, AggregateRoot, "entity_type")
        self.entity_type = entity_type
        self._rows: dict[ID, _Row[T]] = {}

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        """Save a copy and return the id; a conflict with another transaction fails the commit."""
        checks.ensure_entity_type(entity, self.entity_type)
        async with join_transaction(uow, f"add {entity.aggregate_type}", writes=True) as active:
            return self._write(entity, active)

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """Save copies of all aggregates, or of none; return the ids."""
        for entity in entities:
            checks.ensure_entity_type(entity, self.entity_type)
        checks.ensure_distinct(entities)
        async with join_transaction(
            uow, f"add many of {self.entity_type.aggregate_type}", writes=True
        ) as active:
            return [self._write(entity, active) for entity in entities]

    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        """Return a copy of the aggregate, or None."""
        async with join_transaction(uow, f"get {self.entity_type.aggregate_type}") as active:
            return self._read(entity_id, active)

    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        """Delete the aggregate, if it exists, and return the id."""
        async with join_transaction(
            uow, f"delete {self.entity_type.aggregate_type}", writes=True
        ) as active:
            self._get_changes(active).remove(entity_id)
            active.aggregates.mark_deleted(self.entity_type, entity_id)
            return entity_id

    async def list_all(
        self,
        entity_ids: list[ID] | None = None,
        uow: UnitOfWork | None = None,
    ) -> list[T]:
        """Return copies of the aggregates with these ids, or of all aggregates."""
        async with join_transaction(uow, f"list {self.entity_type.aggregate_type}") as active:
            if entity_ids is None:
                rows = self._get_changes(active).list_rows()
                return [_hand_out(row, active) for row in rows]
            found = [self._read(each, active) for each in dict.fromkeys(entity_ids)]
            return [entity for entity in found if entity is not None]

    async def search(
        self, criteria: ISpecification[T] | IQueryOptions[T], uow: UnitOfWork | None = None
    ) -> SearchResult[T]:
        """Return a search over all aggregates, which runs when its result is read."""
        checks.ensure_searchable(criteria)
        select = _build_selection(criteria, self.entity_type)

        async def fetch(count: int | None = None) -> list[T]:
            async with join_transaction(uow, f"search {self.entity_type.aggregate_type}") as active:
                found = select(self._get_changes(active).list_rows())
                return [_hand_out(row, active) for row in found[:count]]

        async def stream(batch_size: int) -> AsyncIterator[T]:
            for item in await fetch():
                yield item

        async def count() -> int:
            satisfies = querying.build_predicate(
                self.entity_type, querying.get_specification(criteria)
            )
            async with join_transaction(uow, f"count {self.entity_type.aggregate_type}") as active:
                rows = self._get_changes(active).list_rows()
                return sum(satisfies(row.state) for row in rows)

        return SearchResult(fetch, stream, take=fetch, count=count)

    def _get_changes(self, uow: InMemoryTransaction) -> _Changes[T, ID]:
        return uow.change_set(self, lambda: _Changes(self._rows, uow.aggregates))

    def _read(self, entity_id: ID, uow: InMemoryTransaction) -> T | None:
        row = self._get_changes(uow).read(entity_id)
        if row is None:
            uow.aggregates.mark_absent([entity_id])
            return None
        return _hand_out(row, uow)

    def _write(self, entity: T, uow: InMemoryTransaction) -> ID:
        entity_id: ID = entity.id
        self._get_changes(uow).write(entity_id, entity)
        uow.aggregates.mark_saved(entity, entity.next_version)
        return entity_id


class _Changes(ChangeSet, Generic[T, ID]):
    """Rows written and removed by one unit of work."""

    def __init__(self, rows: dict[ID, _Row[T]], tracked: TrackedAggregates) -> None:
        self._rows = rows
        self._tracked = tracked
        self._written: dict[ID, _Row[T] | None] = {}
        self._writers: dict[ID, T] = {}
        self._expected: dict[ID, int] = {}

    def read(self, entity_id: ID) -> _Row[T] | None:
        if entity_id in self._written:
            return self._written[entity_id]
        return self._rows.get(entity_id)

    def list_rows(self) -> Iterator[_Row[T]]:
        for entity_id, row in self._rows.items():
            if entity_id not in self._written:
                yield row
        yield from filter(None, self._written.values())

    def write(self, entity_id: ID, entity: T) -> None:
        rewritten = self._writers.get(entity_id) is entity
        if not rewritten:
            self._ensure_version(entity, entity.version, self.read(entity_id))
        if entity_id not in self._written:
            self._expected[entity_id] = entity.version
        self._written[entity_id] = _Row(_copy_state(entity), entity.next_version)
        self._writers[entity_id] = entity

    def remove(self, entity_id: ID) -> None:
        self._written[entity_id] = None
        self._writers.pop(entity_id, None)

    def check(self) -> None:
        for entity_id, version in self._expected.items():
            written = self._writers.get(entity_id)
            if written is not None:
                self._ensure_version(written, version, self._rows.get(entity_id))

    def apply(self) -> None:
        for entity_id, row in self._written.items():
            if row is None:
                self._rows.pop(entity_id, None)
            else:
                self._rows[entity_id] = row

    def _ensure_version(self, entity: T, expected: int, row: _Row[T] | None) -> None:
        actual = None if row is None else row.version
        if expected != (actual or 0):
            raise exceptions.OptimisticConcurrencyError.stale_version(
                f"{entity.aggregate_type} {entity.id}",
                expected,
                actual,
                was_absent=self._tracked.was_absent(entity.id),
            )


def _copy_state(entity: T) -> T:
    """Return a copy for the table: the state without pending events."""
    copy = entity.model_copy(deep=True)
    copy.collect_events()
    return copy


def _hand_out(row: _Row[T], uow: InMemoryTransaction) -> T:
    copy = row.state.model_copy(deep=True)
    if copy.__pydantic_post_init__:
        # A table has no private attributes: pydantic sets their defaults when a row is read.
        object.__setattr__(copy, "__pydantic_private__", None)
        copy.model_post_init(None)
    copy.mark_persisted(row.version)
    uow.aggregates.track(copy)
    return copy


def _build_selection(
    criteria: ISpecification[T] | IQueryOptions[T], entity_type: type[T]
) -> Callable[[Iterable[_Row[T]]], list[_Row[T]]]:
    """Return the function that selects and orders the rows."""
    if isinstance(criteria, ISpecification):
        satisfies = querying.build_predicate(entity_type, criteria)
        return lambda rows: [row for row in rows if satisfies(row.state)]
    options = criteria
    checks.ensure_whole_objects(options)
    for name in options.ordering:
        querying.ensure_orderable(entity_type, name.removeprefix("-"))
    fits = querying.build_predicate(entity_type, options.condition)
    return lambda rows: querying.select_page(
        [row for row in rows if fits(row.state)],
        options,
        key=lambda row: row.state.id,
        read=lambda row, path: querying.read_attribute(row.state, path),
    )
