"""Roles of a persistence dispatcher, over tables of the application.

Subclasses set the class attributes that a role requires, since a dispatcher creates its handlers
without arguments. Each call runs in the transaction of its unit of work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import sqlalchemy as sa

import cqrs_ddd_advanced_core as roles
from cqrs_ddd_core import ID, ConfigError, ISpecification, SearchResult, UnitOfWork
from cqrs_ddd_core.spi.checks import ensure_searchable

from ..engine import Connections, driver
from ..repository import row_cursor, statements
from ..repository.model_mapper import T
from ..repository.repository import SQLAlchemyRepository
from ..specifications import Criteria, build_sqla_filter, options
from ..specifications.columns import get_mapper
from ..specifications.dialects import Expression

R = TypeVar("R")
_CONNECTIONS = Connections(None)
"""Connections that join the unit of work that is passed to each call."""


class _AggregateRole(Generic[T, ID]):
    """Role over aggregates of ``entity_type`` in the table of ``model``."""

    entity_type: type[T]
    model: type[Any]

    @cached_property
    def repository(self) -> SQLAlchemyRepository[T, ID]:
        """Repository of the role; override it for another mapper, or for tenants."""
        _ensure_attributes(self, "entity_type", "model")
        return SQLAlchemyRepository(self.entity_type, self.model)


class SQLAlchemyOperationPersistence(_AggregateRole[T, ID], roles.IOperationPersistence[T, ID]):
    """Writer of the state of aggregates, which detects conflicts by their version.

    Attributes:
        entity_type: class of the aggregates.
        model: declarative class of their table.
    """

    async def persist(self, entity: T, uow: UnitOfWork) -> ID:
        """Insert a new aggregate, or update its row if that has the loaded version; return the id.

        Raises:
            OptimisticConcurrencyError: the row has another version, or a new aggregate has a row.
        """
        return await self.repository.add(entity, uow)


class SQLAlchemyRetrievalPersistence(_AggregateRole[T, ID], roles.IRetrievalPersistence[T, ID]):
    """Reader of aggregates, by one statement and one more for each relation.

    Attributes:
        entity_type: class of the aggregates.
        model: declarative class of their table.
    """

    async def retrieve(self, ids: Sequence[ID], uow: UnitOfWork) -> list[T]:
        """Return the aggregates with these ids, in the order of the ids."""
        return await self.repository.list_all(list(ids), uow)


class _ReadModelRole(ABC, Generic[R]):
    """Role over rows of ``model``, each of which becomes a read model."""

    model: type[Any]
    id_attribute: ClassVar[str | None] = None
    """Attribute of the model that stores the ids; None for the primary key."""
    relations: ClassVar[Sequence[str]] = ()
    """Relationships that the path of a specification may pass."""

    @abstractmethod
    def to_dto(self, row: sa.Row[Any]) -> R:
        """Return the read model of a row, which has the names that ``statement`` selects."""
        ...

    def statement(self) -> sa.GenerativeSelect:
        """Select all columns of the model, under the names of its attributes.

        An override may join other tables, but conditions and order apply to the model.
        """
        columns = {
            name: each.columns[0] for name, each in get_mapper(self.model).column_attrs.items()
        }
        return sa.select(
            *(
                column if column.key == name else column.label(name)
                for name, column in columns.items()
                if isinstance(column, sa.Column)
            )
        )

    def row_scope(self) -> ISpecification[Any] | None:
        """Return a specification that limits every statement; each call evaluates it again."""
        return None

    @cached_property
    def _key(self) -> Expression:
        _ensure_attributes(self, "model")
        mapper = get_mapper(self.model)
        if self.id_attribute is not None:
            return self._find_column(self.id_attribute)
        if len(mapper.primary_key) > 1:
            raise ConfigError(
                f"{self.model.__name__} has a primary key of several columns; set id_attribute of "
                f"{type(self).__name__} to the attribute that stores the ids"
            )
        return mapper.primary_key[0]

    def _find_column(self, name: str) -> Expression:
        attributes = get_mapper(self.model).column_attrs
        if name not in attributes:
            raise ConfigError(
                f"{self.model.__name__} does not have the column {name!r}; use one of "
                f"{', '.join(attributes.keys())}"
            )
        return attributes[name].columns[0]

    def _select_scoped(self) -> sa.Select[Any]:
        _ensure_attributes(self, "model")
        query, scope = self.statement(), self.row_scope()
        if not isinstance(query, sa.Select):
            raise ConfigError(
                f"the statement of {type(self).__name__} is a {type(query).__name__}, which does "
                "not accept conditions; return a select"
            )
        if scope is None:
            return query
        return query.where(build_sqla_filter(self.model, scope, relations=self.relations))

    async def _fetch_rows(
        self, query: sa.Select[Any], uow: UnitOfWork, ids: Sequence[Any] | None = None
    ) -> Sequence[sa.Row[Any]]:
        operation = f"fetch {self.model.__name__}"
        given: dict[str, Any] = {}
        async with _CONNECTIONS.join_transaction(uow, operation) as active:
            connection = await active.connection()
            if ids is not None:
                query = query.where(statements.in_values(self._key, driver.is_postgres(connection)))
                given[statements.KNOWN_IDS] = list(ids)
            rows: Sequence[sa.Row[Any]] = (await connection.execute(query, given)).all()
        return rows


class SQLAlchemyQueryPersistence(_ReadModelRole[R], roles.IQueryPersistence[R, ID]):
    """Reader of read models by ids, in one statement.

    Attributes:
        model: declarative class of the rows.
        id_attribute: attribute of the model that stores the ids; None for the primary key.
        relations: relationships that the path of a specification may pass.
    """

    async def fetch(self, ids: Sequence[ID], uow: UnitOfWork) -> list[R]:
        """Return the read models with these ids, in the order of the ids if the id is selected."""
        query = self._select_scoped()
        rows = await self._fetch_rows(query, uow, ids)
        selected = enumerate(query.selected_columns)
        place = next((index for index, each in selected if each.shares_lineage(self._key)), None)
        if place is not None:  # Otherwise the dispatcher restores the order.
            order = {each: index for index, each in enumerate(ids)}
            rows = sorted(rows, key=lambda row: order.get(row[place], len(order)))
        return [self.to_dto(row) for row in rows]


class SQLAlchemyQuerySpecificationPersistence(
    _ReadModelRole[R], roles.IQuerySpecificationPersistence[R]
):
    """Search by the attributes of the model; ``stream`` reads from a database cursor.

    Attributes:
        model: declarative class of the rows.
        id_attribute: attribute of the model that stores the ids; None for the primary key.
        relations: relationships that the path of a specification may pass.
    """

    async def fetch(self, criteria: Criteria, uow: UnitOfWork) -> SearchResult[R]:
        """Return a search, which runs when it is awaited or streamed.

        Raises:
            SpecificationError: the model does not support the criteria.
        """
        ensure_searchable(criteria)
        # Built now: the caller may await the result in the context of another tenant.
        rows, relations = self._select_scoped(), self.relations
        query = options.apply_criteria(rows, self.model, criteria, self._key, relations=relations)
        counted = options.count_rows(rows, self.model, criteria, relations=relations)

        async def find(found: sa.Select[Any]) -> list[R]:
            return [self.to_dto(row) for row in await self._fetch_rows(found, uow)]

        async def stream(batch_size: int) -> AsyncIterator[R]:
            cursor = row_cursor.RowCursor(query, batch_size)
            try:
                while not cursor.is_at_end:
                    # Joined for each batch: in between, the consumer may use the unit of work.
                    operation = f"stream {self.model.__name__}"
                    async with _CONNECTIONS.join_transaction(uow, operation) as active:
                        rows = await cursor.fetch(await active.connection())
                    for row in rows:
                        yield self.to_dto(row)
            finally:
                await cursor.leave(uow)

        async def count() -> int:
            [row] = await self._fetch_rows(counted, uow)
            found: int = row[0]
            return found

        return SearchResult(
            lambda: find(query),
            stream,
            take=lambda count: find(options.take_rows(query, criteria, count)),
            count=count,
        )


class SQLAlchemyProjectionDualPersistence(roles.ProjectionBackedDualPersistence[R, ID]):
    """Reader of projections by id or criteria, over the store of the unit of work.

    All SQL is in the store: a search uses the indexed columns, and ``stream`` a cursor.
    """


def _ensure_attributes(handler: object, *names: str) -> None:
    unset = [name for name in names if not hasattr(handler, name)]
    if unset:
        raise ConfigError(
            f"{type(handler).__name__} lacks {' and '.join(unset)}; set it as a class attribute, "
            "since a dispatcher creates its handlers without arguments"
        )
