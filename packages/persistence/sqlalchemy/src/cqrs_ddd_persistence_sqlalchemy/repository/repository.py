"""Repository of aggregates in tables of the application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic

import sqlalchemy as sa

from cqrs_ddd_core import (
    ID,
    AggregateRoot,
    IBulkRepository,
    ISpecification,
    SearchResult,
    UnitOfWork,
)
from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.spi import checks
from cqrs_ddd_core.unit_of_work import TrackedAggregates

from ..engine import AsyncConnection, Connections, SessionFactory, SQLAlchemyTransaction, driver
from ..engine.driver_errors import translate_errors
from ..specifications import Criteria, build_sqla_filter, options
from . import row_cursor, row_reader, row_writer
from .model_mapper import ModelMapper, T
from .statements import KNOWN_ID, KNOWN_IDS, RepositoryStatements, Scope


class SQLAlchemyRepository(IBulkRepository[T, ID], Generic[T, ID]):
    """Repository of aggregates as rows of a declarative model.

    Each write applies to the loaded version only. A second row with the value of a unique column is
    a ``DuplicateKeyError``. ``stream`` reads from a database cursor; between its batches the unit
    of work is free for other statements.

    Args:
        entity_type: class of the aggregates.
        model: declarative class of one table.
        session_factory: creates a transaction for calls outside a unit of work.
        mapper: mapping of fields to columns; None maps fields to attributes by name.

    Raises:
        ConfigError: fields and columns do not fit, or the mapper is for other classes.
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
            raise exceptions.ConfigError(
                f"the mapper is for {self.mapper.entity_type.__name__} in "
                f"{self.mapper.model.__name__}, the repository for {entity_type.__name__} in "
                f"{model.__name__}; pass a mapper for the same classes"
            )
        self._connections = Connections(session_factory)
        self._mapping: dict[str, Any] = {
            "names": self.mapper.map_path,
            "values": self.mapper.encode_operand,
            "relations": [relation.name for relation in self.mapper.relations],
        }
        self._statements = {kind: RepositoryStatements(self.mapper, kind) for kind in (True, False)}

    def row_scope(self) -> ISpecification[T] | None:
        """Return a specification that limits every statement; each call evaluates it again."""
        return None

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        """Insert a new aggregate, or update its row if that has the loaded version; return the id.

        Raises:
            AlreadyExistsError: the aggregate is new, and its id has a row.
            OptimisticConcurrencyError: the row has another version.
            DuplicateKeyError: another row has the same value in a unique column.
        """
        checks.ensure_entity_type(entity, self.entity_type)
        await self._save([entity], uow, f"add {entity.aggregate_type} {entity.id}")
        entity_id: ID = entity.id
        return entity_id

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """Insert all new aggregates by one statement, update each other one by its own.

        Raises:
            AlreadyExistsError: an aggregate is new, and its id has a row.
            OptimisticConcurrencyError: a row has another version.
            DuplicateKeyError: another row has the same value in a unique column.
        """
        for entity in entities:
            checks.ensure_entity_type(entity, self.entity_type)
        checks.ensure_distinct(entities)
        if entities:
            await self._save(entities, uow, f"add many of {self.entity_type.aggregate_type}")
        return [entity.id for entity in entities]

    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        """Return the aggregate by primary key, or None; each relation takes one more statement."""
        given = {KNOWN_ID: self.mapper.encode_ids([entity_id])[0]}
        found = await self._find(lambda sql: sql.row, given, uow, "get")
        self._mark_absent([entity_id], found, uow)
        return found[0] if found else None

    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        """Delete the row and, before it, the rows of its relations; return the id."""
        operation = f"delete {self.entity_type.aggregate_type} {entity_id}"
        scope = self._build_scope()
        async with self._connections.join_transaction(uow, operation) as active:
            async with self._open_writer(active, scope, operation) as writer:
                await writer.delete(entity_id)
            active.aggregates.mark_deleted(self.entity_type, entity_id)
        return entity_id

    async def list_all(
        self, entity_ids: list[ID] | None = None, uow: UnitOfWork | None = None
    ) -> list[T]:
        """Return the aggregates with these ids in their order, or all, with one array parameter."""
        if entity_ids is None:
            return await self._find(lambda sql: sql.rows, {}, uow, "list")
        asked = dict.fromkeys(entity_ids)
        given = {KNOWN_IDS: self.mapper.encode_ids(asked)}
        found = await self._find(lambda sql: sql.rows_by_id, given, uow, "list")
        by_id = {entity.id: entity for entity in found}
        self._mark_absent(list(asked), found, uow)
        return [by_id[each] for each in asked if each in by_id]

    async def search(self, criteria: Criteria[T], uow: UnitOfWork | None = None) -> SearchResult[T]:
        """Return a search by the columns of the model, which runs when it is awaited or streamed.

        Raises:
            SpecificationError: the model does not support the criteria.
        """
        checks.ensure_searchable(criteria)
        # Built now: the caller may await the result in the context of another tenant.
        query, scope = self._build_query(criteria), self._build_scope()

        def find(found: sa.Select[Any]) -> Awaitable[list[T]]:
            return self._find(lambda _: found, {}, uow, "search", scope)

        return SearchResult(
            lambda: find(query),
            lambda size: self._stream(query.where(*scope), scope, size, uow),
            take=lambda count: find(options.take_rows(query, criteria, count)),
            count=lambda: self._count(criteria, scope, uow),
        )

    async def _find(
        self,
        query: Callable[[RepositoryStatements], sa.Select[Any]],
        parameters: dict[str, Any],
        uow: UnitOfWork | None,
        operation: str,
        scope: Scope | None = None,
    ) -> list[T]:
        operation = f"{operation} {self.entity_type.aggregate_type}"
        scope = self._build_scope() if scope is None else scope
        async with self._connections.read_connection(uow, operation) as connection:
            sql = self._get_statements(connection)
            scoped = query(sql).where(*scope)
            storable = self._drop_ids(parameters, driver.is_postgres(connection))
            reader = row_reader.RowReader(self.mapper, sql, scoped, scope, storable)
            entities = [] if storable is None else await reader.read(connection)
        return _track(entities, self._connections.current(uow))

    def _drop_ids(self, parameters: dict[str, Any], is_postgres: bool) -> dict[str, Any] | None:
        """Return the parameters without ids that no row can have; None if no id is left."""
        ids = [parameters[KNOWN_ID]] if KNOWN_ID in parameters else parameters.get(KNOWN_IDS, [])
        storable = [e for e in ids if self.mapper.can_store_id(e, is_postgres=is_postgres)]
        if len(storable) == len(ids):
            return parameters
        return {KNOWN_IDS: storable} if KNOWN_IDS in parameters else None

    def _mark_absent(self, ids: Sequence[ID], found: list[T], uow: UnitOfWork | None) -> None:
        current = self._connections.current(uow)
        if current is not None:
            current.aggregates.mark_absent(ids, found)

    async def _stream(
        self, query: sa.Select[Any], scope: Scope, size: int, uow: UnitOfWork | None
    ) -> AsyncIterator[T]:
        operation = f"search {self.entity_type.aggregate_type}"
        tracking = self._connections.current(uow)
        cursor, batch = row_cursor.RowCursor(query, size), list[T]()
        async with self._connections.stream_transaction(uow) as shared:
            try:
                while not cursor.is_at_end:
                    # Joined for each batch: in between, the consumer may use the unit of work.
                    async with self._connections.join_transaction(shared, operation) as active:
                        active.aggregates.untrack(batch)
                        connection = await active.connection()
                        reader = row_reader.RowReader(
                            self.mapper, self._get_statements(connection), query, scope
                        )
                        rows = await cursor.fetch(connection)
                        found = await reader.complete(connection, rows)
                    batch = _track(found, tracking)
                    for entity in batch:
                        yield entity
            finally:
                await cursor.leave(shared)

    async def _count(self, criteria: Criteria, scope: Scope, uow: UnitOfWork | None) -> int:
        rows = sa.select(self.mapper.key).where(*scope)
        query = options.count_rows(rows, self.mapper.model, criteria, **self._mapping)
        operation = f"count {self.entity_type.aggregate_type}"
        async with self._connections.read_connection(uow, operation) as connection:
            self.mapper.ensure_fits(connection.dialect.name)
            found: int = (await connection.execute(query)).scalar_one()
        return found

    def _build_query(self, criteria: Criteria) -> sa.Select[Any]:
        rows, key = sa.select(*self.mapper.columns), self.mapper.key
        return options.apply_criteria(rows, self.mapper.model, criteria, key, **self._mapping)

    async def _save(self, entities: Sequence[T], uow: UnitOfWork | None, operation: str) -> None:
        scope = self._build_scope()
        async with self._connections.join_transaction(uow, operation) as active:
            tracked = active.aggregates
            async with self._open_writer(active, scope, operation) as writer:
                await writer.save([(each, _find_version(each, tracked)) for each in entities])
            for entity in entities:
                active.aggregates.mark_saved(entity, entity.next_version)

    @asynccontextmanager
    async def _open_writer(
        self, transaction: SQLAlchemyTransaction, scope: Scope, operation: str
    ) -> AsyncIterator[row_writer.RowWriter[T]]:
        connection = await transaction.connection()
        writer = row_writer.RowWriter(
            self.mapper, self._get_statements(connection), scope, connection, transaction.aggregates
        )
        try:
            with translate_errors(exceptions.PersistenceError, operation):
                yield writer
        except BaseException as error:
            # A later commit would commit a part of the call.
            if writer.has_begun or not isinstance(error, Exception):
                transaction.mark_failed(error)
            raise

    def _build_scope(self) -> Scope:
        scope = self.row_scope()
        if scope is None:
            return ()
        return (build_sqla_filter(self.mapper.model, scope, **self._mapping),)

    def _get_statements(self, connection: AsyncConnection) -> RepositoryStatements:
        """Return the statements for the database, raising ``ConfigError`` for lossy columns."""
        self.mapper.ensure_fits(connection.dialect.name)
        return self._statements[driver.is_postgres(connection)]


def _find_version(entity: AggregateRoot[Any], tracked: TrackedAggregates) -> int | None:
    """Return the stored version of an aggregate, or None if it is new."""
    saved = tracked.get_saved_version(entity)
    return saved if saved is not None or not entity.is_persisted else entity.version


def _track(entities: list[T], uow: UnitOfWork | None) -> list[T]:
    if uow is not None:
        for entity in entities:
            uow.aggregates.track(entity)
    return entities
