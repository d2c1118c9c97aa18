"""The roles of a persistence dispatcher, over tables of your own.

Subclasses set what the roles need as class attributes, so they are made without arguments. The
transaction is that of the unit of work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import Column, ColumnElement, GenerativeSelect, Row, Select, select

from cqrs_ddd_advanced_core.ports.persistence import (
    IOperationPersistence,
    IQueryPersistence,
    IQuerySpecificationPersistence,
    IRetrievalPersistence,
)
from cqrs_ddd_core.domain.aggregate import ID, AggregateRoot
from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConfigError, InvalidOperationError
from cqrs_ddd_core.spi.checks import ensure_searchable
from cqrs_ddd_specifications import QueryOptions

from ..engine.connections import Connections
from ..engine.driver import is_postgres
from ..repository.repository import SQLAlchemyRepository
from ..repository.row_cursor import RowCursor
from ..repository.statements import KNOWN_IDS, in_values
from ..specifications import apply_query_options, build_sqla_filter, in_order
from ..specifications.columns import mapper_of

T = TypeVar("T", bound=AggregateRoot[Any])
R = TypeVar("R")
_CONNECTIONS = Connections(None)
"""Of the unit of work that each call passes."""


class _OfAggregates(Generic[T, ID]):
    """``entity_type`` in the table of ``model``."""

    entity_type: type[T]
    model: type[Any]

    @cached_property
    def repository(self) -> SQLAlchemyRepository[T, ID]:
        """Override it for a mapper of your own, or for a repository that knows tenants."""
        _ensure_set(self, "entity_type", "model")
        return SQLAlchemyRepository(self.entity_type, self.model)


class SQLAlchemyOperationPersistence(_OfAggregates[T, ID], IOperationPersistence[T, ID]):
    """Saves the state of aggregates, under the version that they were loaded with."""

    async def persist(self, entity: T, uow: UnitOfWork) -> ID:
        return await self.repository.add(entity, uow)


class SQLAlchemyRetrievalPersistence(_OfAggregates[T, ID], IRetrievalPersistence[T, ID]):
    """Loads aggregates, in one statement and one for each relation."""

    async def retrieve(self, ids: Sequence[ID], uow: UnitOfWork) -> list[T]:
        return await self.repository.list_all(list(ids), uow)


class _OfReadModels(ABC, Generic[R]):
    """Rows about ``model``, each of which makes a read model."""

    model: type[Any]
    id_attribute: ClassVar[str | None] = None
    """Of the model; the primary key where it is None."""
    relations: ClassVar[Sequence[str]] = ()
    """That a specification may pass."""

    @abstractmethod
    def to_dto(self, row: Row[Any]) -> R:
        """The row has what ``statement`` selects, by name."""
        ...

    def statement(self) -> GenerativeSelect:
        """By default all columns of the model, by the names of its attributes.

        One of your own may join, but conditions and order are those of the model.
        """
        columns = {
            name: each.columns[0] for name, each in mapper_of(self.model).column_attrs.items()
        }
        return select(
            *(
                column if column.key == name else column.label(name)
                for name, column in columns.items()
                if isinstance(column, Column)
            )
        )

    def row_scope(self) -> ISpecification[Any] | None:
        """What every statement is limited to, such as the rows of a tenant; asked at each call."""
        return None

    @cached_property
    def _key(self) -> ColumnElement[Any]:
        _ensure_set(self, "model")
        mapper = mapper_of(self.model)
        if self.id_attribute is not None:
            return _column_of(self.model, self.id_attribute)
        if len(mapper.primary_key) > 1:
            raise ConfigError(
                f"{self.model.__name__} has a key of several columns; name the one that "
                f"{type(self).__name__} takes ids of as id_attribute"
            )
        return mapper.primary_key[0]

    def _scoped(self) -> Select[Any]:
        _ensure_set(self, "model")
        query, scope = self.statement(), self.row_scope()
        if not isinstance(query, Select):
            raise ConfigError(
                f"the statement of {type(self).__name__} is a {type(query).__name__}, to which no "
                "condition can be added; make it a select"
            )
        if scope is None:
            return query
        return query.where(build_sqla_filter(self.model, scope, relations=self.relations))

    async def _rows(
        self, query: Select[Any], uow: UnitOfWork, ids: Sequence[Any] | None = None
    ) -> Sequence[Row[Any]]:
        operation = f"fetch {self.model.__name__}"
        given: dict[str, Any] = {}
        async with _CONNECTIONS.join_transaction(uow, operation) as active:
            connection = await active.connection()
            if ids is not None:
                query = query.where(in_values(self._key, is_postgres(connection)))
                given[KNOWN_IDS] = list(ids)
            rows: Sequence[Row[Any]] = (await connection.execute(query, given)).all()
        return rows


class SQLAlchemyQueryPersistence(_OfReadModels[R], IQueryPersistence[R, ID]):
    """Reads by ids, in one statement."""

    async def fetch(self, ids: Sequence[ID], uow: UnitOfWork) -> list[R]:
        query = self._scoped()
        rows = await self._rows(query, uow, ids)
        selected = enumerate(query.selected_columns)
        place = next((index for index, each in selected if each.shares_lineage(self._key)), None)
        if place is not None:  # Otherwise the dispatcher knows better how to tell them apart.
            order = {each: index for index, each in enumerate(ids)}
            rows = sorted(rows, key=lambda row: order.get(row[place], len(order)))
        return [self.to_dto(row) for row in rows]


class SQLAlchemyQuerySpecificationPersistence(_OfReadModels[R], IQuerySpecificationPersistence[R]):
    """Searches by the attributes of the model; ``stream`` reads from a cursor of the database."""

    async def fetch(
        self, criteria: ISpecification[Any] | IQueryOptions[Any], uow: UnitOfWork
    ) -> SearchResult[R]:
        ensure_searchable(criteria)
        # Made now and not later: who awaits the result may do so in the request of another tenant.
        query = self._query(criteria)

        async def fetch() -> list[R]:
            return [self.to_dto(row) for row in await self._rows(query, uow)]

        async def stream(batch_size: int) -> AsyncIterator[R]:
            cursor = RowCursor(query, batch_size)
            try:
                while not cursor.is_at_end:
                    # Taken for a batch: in between the unit of work is the consumer's.
                    operation = f"stream {self.model.__name__}"
                    async with _CONNECTIONS.join_transaction(uow, operation) as active:
                        rows = await cursor.fetch(await active.connection())
                    for row in rows:
                        yield self.to_dto(row)
            finally:
                await cursor.leave(uow)

        return SearchResult(fetch, stream)

    def _query(self, criteria: Any) -> Select[Any]:
        rows = self._scoped()
        if isinstance(criteria, ISpecification):
            return rows.where(build_sqla_filter(self.model, criteria, relations=self.relations))
        if isinstance(criteria, QueryOptions) and criteria.select_fields:
            raise InvalidOperationError(
                f"{type(self).__name__} makes whole results of its rows, not of "
                f"{', '.join(criteria.select_fields)} alone; leave select_fields out"
            )
        page = apply_query_options(rows, self.model, criteria, relations=self.relations)
        if criteria.ordering or criteria.limit is not None or criteria.offset:
            # Equals in no order at all could be on two pages, or on none.
            page = page.order_by(in_order(self._key))
        return page


def _column_of(model: type[Any], name: str) -> ColumnElement[Any]:
    attributes = mapper_of(model).column_attrs
    if name not in attributes:
        raise ConfigError(
            f"{model.__name__} has no column {name!r}; there is {', '.join(attributes.keys())}"
        )
    return attributes[name].columns[0]


def _ensure_set(handler: object, *names: str) -> None:
    unset = [name for name in names if not hasattr(handler, name)]
    if unset:
        raise ConfigError(
            f"{type(handler).__name__} lacks {' and '.join(unset)}; set it as a class attribute, "
            "since a dispatcher makes its handlers without arguments"
        )
