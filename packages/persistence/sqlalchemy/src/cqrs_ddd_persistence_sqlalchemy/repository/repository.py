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
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.spi.checks import (
    ensure_distinct,
    ensure_entity_type,
    ensure_searchable,
    ensure_whole_objects,
)

from ..engine.connections import joined, reading
from ..engine.driver import is_postgres
from ..engine.engines import SessionFactory
from ..specifications import apply_query_options, build_sqla_filter, in_order
from ..unit_of_work import SQLAlchemyUnitOfWork
from .model_mapper import ModelMapper
from .row_cursor import RowCursor
from .row_errors import translate_row_errors
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
        self._session_factory = session_factory
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
        async with joined(uow, self._session_factory, operation) as active:
            async with self._writing(active, scope, operation) as writing:
                await writing.delete(entity_id)
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
        with translate_row_errors(operation):
            async with reading(uow, self._session_factory, operation) as connection:
                with translate_row_errors(operation):
                    sql = self._sql(connection)
                    found = RowReader(self.mapper, sql, query(sql).where(*scope), scope)
                    entities = await found.read(connection, given)
        return _loaded(entities, uow or get_current_uow())

    async def _stream(
        self, query: Select[Any], scope: Scope, size: int, uow: UnitOfWork | None
    ) -> AsyncIterator[T]:
        operation = f"search {self.entity_type.aggregate_type}"
        given = uow or get_current_uow()
        # One of our own is not entered, or it would be the current one of whoever iterates.
        shared = given or SQLAlchemyUnitOfWork(session_factory=self._session_factory)
        cursor, batch = RowCursor(query, size), list[T]()
        try:
            while not cursor.is_at_end:
                # Taken for a batch and not for the whole stream: in between it is the consumer's.
                async with joined(shared, self._session_factory, operation) as active:
                    active.aggregates.untrack(batch)
                    with translate_row_errors(operation):
                        connection = await active.connection()
                        rest = RowReader(self.mapper, self._sql(connection), query, scope)
                        rows = await cursor.fetch(connection)
                        found = await rest.of_rows(connection, rows)
                batch = _loaded(found, given)
                for entity in batch:
                    yield entity
        finally:
            try:
                await cursor.leave(shared)
            finally:
                if given is None:
                    await shared.rollback()

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
        async with joined(uow, self._session_factory, operation) as active:
            saved = active.aggregates.saved_version
            async with self._writing(active, scope, operation) as writing:
                await writing.save([(each, saved(each) or each.version) for each in entities])
            for entity in entities:
                active.aggregates.mark_saved(entity, entity.next_version)

    @asynccontextmanager
    async def _writing(
        self, active: SQLAlchemyUnitOfWork, scope: Scope, operation: str
    ) -> AsyncIterator[RowWriter]:
        with translate_row_errors(operation):
            connection = await active.connection()
        writing = RowWriter(self.mapper, self._sql(connection), scope, connection)
        try:
            with translate_row_errors(operation):
                yield writing
        except BaseException as error:
            # Whoever goes on after it would commit a part of the call.
            if writing.has_begun or not isinstance(error, Exception):
                active.mark_failed(error)
            raise

    def _scope(self) -> Scope:
        scope = self.row_scope()
        if scope is None:
            return ()
        return (build_sqla_filter(self.mapper.model, scope, **self._as_mapped),)

    def _sql(self, connection: AsyncConnection) -> RepositoryStatements:
        """The statements for its database; raises ``ConfigError`` for columns unfit for it."""
        self.mapper.refuse_unfit(connection.dialect.name)
        return self._statements[is_postgres(connection)]


def _loaded(entities: list[T], uow: UnitOfWork | None) -> list[T]:
    if uow is not None:
        for entity in entities:
            uow.aggregates.track(entity)
    return entities
