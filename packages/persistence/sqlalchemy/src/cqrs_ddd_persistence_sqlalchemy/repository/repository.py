"""Aggregates in tables of your own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.domain.aggregate import ID, AggregateRoot
from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.ports.repository import IBulkRepository
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConfigError, PersistenceError
from cqrs_ddd_core.spi.checks import (
    ensure_distinct,
    ensure_entity_type,
    ensure_searchable,
    ensure_whole_objects,
)

from ..engine.connections import Connections
from ..engine.driver import is_postgres
from ..engine.driver_errors import translate_errors
from ..engine.engines import SessionFactory
from ..engine.transaction import SQLAlchemyTransaction
from ..specifications import apply_query_options, build_sqla_filter, in_order
from .model_mapper import ModelMapper
from .row_cursor import RowCursor
from .row_reader import RowReader
from .row_writer import RowWriter
from .statements import KNOWN_ID, KNOWN_IDS, RepositoryStatements

T = TypeVar("T", bound=AggregateRoot[Any])
Scope = Sequence[ColumnElement[bool]]


class SQLAlchemyRepository(IBulkRepository[T, ID], Generic[T, ID]):
    """Aggregates as rows of a declarative model; a stale version is refused by the database.

    A second row with a value that must be unique is a ``DuplicateKeyError``. ``stream`` reads from
    a cursor of the database; between its batches the unit of work is free for other statements.

    Args:
        session_factory: for a short unit of work where none is given and none is open.
        mapper: which column holds what, where the names do not tell.
    """

    def __init__(
        self,
        entity_type: type[T],
        model: type[Any],
        session_factory: SessionFactory | None = None,
        *,
        mapper: ModelMapper[T] | None = None,
    ) -> None:
        super().__init__()
        self.entity_type = entity_type
        self.mapper = mapper or ModelMapper(entity_type, model)
        if self.mapper.model is not model or self.mapper.entity_type is not entity_type:
            raise ConfigError(
                f"the mapper is for {self.mapper.entity_type.__name__} in "
                f"{self.mapper.model.__name__}, the repository for {entity_type.__name__} in "
                f"{model.__name__}; pass a mapper of the same two"
            )
        self._connections = Connections(session_factory)
        self._as_mapped: dict[str, Any] = {
            "names": self.mapper.attribute_path,
            "values": self.mapper.stored_value,
            "relations": [relation.name for relation in self.mapper.relations],
        }
        self._statements = {kind: RepositoryStatements(self.mapper, kind) for kind in (True, False)}

    def row_scope(self) -> ISpecification[T] | None:
        """What every statement of this repository is limited to; asked for at each call."""
        return None

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        ensure_entity_type(entity, self.entity_type)
        await self._save([entity], uow, f"add {entity.aggregate_type} {entity.id}")
        entity_id: ID = entity.id
        return entity_id

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """As promised; new ones go in one statement, changed ones in a statement each."""
        for entity in entities:
            ensure_entity_type(entity, self.entity_type)
        ensure_distinct(entities)
        if entities:
            await self._save(entities, uow, f"add many of {self.entity_type.aggregate_type}")
        return [entity.id for entity in entities]

    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        given = {KNOWN_ID: self.mapper.id_values([entity_id])[0]}
        found = await self._found(lambda sql: sql.row, given, uow, "get")
        return found[0] if found else None

    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        operation = f"delete {self.entity_type.aggregate_type} {entity_id}"
        scope = self._scope()
        async with self._connections.join_transaction(uow, operation) as active:
            async with self._open_writer(active, scope, operation) as writer:
                await writer.delete(entity_id)
            active.aggregates.mark_deleted(self.entity_type, entity_id)
        return entity_id

    async def list_all(
        self, entity_ids: list[ID] | None = None, uow: UnitOfWork | None = None
    ) -> list[T]:
        if entity_ids is None:
            return await self._found(lambda sql: sql.rows, {}, uow, "list")
        asked = dict.fromkeys(entity_ids)
        given = {KNOWN_IDS: self.mapper.id_values(asked)}
        found = await self._found(lambda sql: sql.rows_by_id, given, uow, "list")
        by_id = {entity.id: entity for entity in found}
        return [by_id[each] for each in asked if each in by_id]

    async def search(
        self, criteria: ISpecification[T] | Any, uow: UnitOfWork | None = None
    ) -> SearchResult[T]:
        ensure_searchable(criteria)
        # Made now and not later: who awaits the result may do so in the request of another tenant.
        query, scope = self._query(criteria), self._scope()

        async def fetch() -> list[T]:
            return await self._found(lambda _: query, {}, uow, "search", scope)

        def stream(batch_size: int) -> AsyncIterator[T]:
            return self._stream(query.where(*scope), scope, batch_size, uow)

        return SearchResult(fetch, stream)

    async def _found(
        self,
        query: Callable[[RepositoryStatements], Select[Any]],
        given: Mapping[str, Any],
        uow: UnitOfWork | None,
        operation: str,
        scope: Scope | None = None,
    ) -> list[T]:
        operation = f"{operation} {self.entity_type.aggregate_type}"
        scope = self._scope() if scope is None else scope
        async with self._connections.read_connection(uow, operation) as connection:
            sql = self._sql(connection)
            reader = RowReader(self.mapper, sql, query(sql).where(*scope), scope)
            entities = await reader.read(connection, given)
        return _track(entities, self._connections.current(uow))

    async def _stream(
        self, query: Select[Any], scope: Scope, size: int, uow: UnitOfWork | None
    ) -> AsyncIterator[T]:
        operation = f"search {self.entity_type.aggregate_type}"
        tracking = self._connections.current(uow)
        cursor, batch = RowCursor(query, size), list[T]()
        async with self._connections.stream_transaction(uow) as shared:
            try:
                while not cursor.is_at_end:
                    # Joined for each batch: in between the unit of work is the consumer's.
                    async with self._connections.join_transaction(shared, operation) as active:
                        active.aggregates.untrack(batch)
                        connection = await active.connection()
                        reader = RowReader(self.mapper, self._sql(connection), query, scope)
                        rows = await cursor.fetch(connection)
                        found = await reader.of_rows(connection, rows)
                    batch = _track(found, tracking)
                    for entity in batch:
                        yield entity
            finally:
                await cursor.leave(shared)

    def _query(self, criteria: Any) -> Select[Any]:
        rows, model = select(*self.mapper.columns), self.mapper.model
        if isinstance(criteria, ISpecification):
            return rows.where(build_sqla_filter(model, criteria, **self._as_mapped))
        ensure_whole_objects(criteria)
        page = apply_query_options(rows, model, criteria, **self._as_mapped)
        if criteria.ordering or criteria.limit is not None or criteria.offset:
            # Equals in no order at all could be on two pages, or on none.
            page = page.order_by(in_order(self.mapper.key))
        return page

    async def _save(self, entities: Sequence[T], uow: UnitOfWork | None, operation: str) -> None:
        scope = self._scope()
        async with self._connections.join_transaction(uow, operation) as active:
            saved = active.aggregates.saved_version
            async with self._open_writer(active, scope, operation) as writer:
                await writer.save([(each, saved(each) or each.version) for each in entities])
            for entity in entities:
                active.aggregates.mark_saved(entity, entity.next_version)

    @asynccontextmanager
    async def _open_writer(
        self, transaction: SQLAlchemyTransaction, scope: Scope, operation: str
    ) -> AsyncIterator[RowWriter]:
        connection = await transaction.connection()
        writer = RowWriter(self.mapper, self._sql(connection), scope, connection)
        try:
            with translate_errors(PersistenceError, operation):
                yield writer
        except BaseException as error:
            # A commit after it would commit a part of the call.
            if writer.has_begun or not isinstance(error, Exception):
                transaction.mark_failed(error)
            raise

    def _scope(self) -> Scope:
        scope = self.row_scope()
        if scope is None:
            return ()
        return (build_sqla_filter(self.mapper.model, scope, **self._as_mapped),)

    def _sql(self, connection: AsyncConnection) -> RepositoryStatements:
        """The statements for its database; raises ``ConfigError`` for columns unfit for it."""
        self.mapper.ensure_fits(connection.dialect.name)
        return self._statements[is_postgres(connection)]


def _track(entities: list[T], uow: UnitOfWork | None) -> list[T]:
    if uow is not None:
        for entity in entities:
            uow.aggregates.track(entity)
    return entities
