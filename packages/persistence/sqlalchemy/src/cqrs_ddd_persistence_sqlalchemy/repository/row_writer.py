"""Rows of aggregates, written under the versions that are known of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Executable, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.domain.aggregate import AggregateRoot
from cqrs_ddd_core.primitives.exceptions import OptimisticConcurrencyError

from ..engine.driver import is_postgres
from .model_mapper import ModelMapper
from .statements import KNOWN_ID, KNOWN_IDS, KNOWN_VERSION, RepositoryStatements

Known = tuple[AggregateRoot[Any], int]
"""An aggregate, and the version that is stored of it; 0 for none."""

_Row = dict[str, Any]
"""By the keys of the columns."""


class RowWriter:
    """Writes on one connection; raises ``OptimisticConcurrencyError`` for another version."""

    def __init__(
        self,
        mapper: ModelMapper[Any],
        sql: RepositoryStatements,
        scope: Sequence[ColumnElement[bool]],
        connection: AsyncConnection,
    ) -> None:
        self._mapper = mapper
        self._sql = sql
        self._scope = scope
        self._connection = connection
        self.has_begun = False
        """Whether the database has done something already."""

    async def save(self, entities: Sequence[Known]) -> None:
        given = zip(self._mapper.id_values(each.id for each, _ in entities), entities)  # noqa: B905
        # In one order, or two who save the same ones could each wait for the other.
        in_order = sorted(given, key=lambda each: str(each[0]))
        ids, entities = [key for key, _ in in_order], [known for _, known in in_order]
        # All of them before the first statement: a value that is refused has then changed nothing.
        rows = [self._row(entity) for entity, _ in entities]
        parts = self._parts(ids, entities)
        for is_new, run in groupby(zip(entities, rows), lambda each: not each[0][1]):  # noqa: B905
            if is_new:
                await self._insert(list(run))
            else:
                for entity, row in run:
                    await self._update(*entity, row)
        changed = [key for key, (_, version) in zip(ids, entities) if version]  # noqa: B905
        await self._write_parts(parts, changed)

    async def delete(self, entity_id: Any) -> None:
        given = {KNOWN_ID: self._mapper.id_values([entity_id])[0]}
        if self._mapper.relations and is_postgres(self._connection):
            # The aggregate before its parts, as who saves it has to; SQLite has one writer.
            lock = select(self._sql.key).where(self._sql.is_the_one, *self._scope).with_for_update()
            if (await self._execute(lock, given)).first() is None:
                return
        for relation in self._mapper.relations:
            await self._execute(relation.remove(self._sql.is_the_one, *self._scope), given)
        await self._execute(self._sql.delete.where(*self._scope), given)

    async def _insert(self, entities: Sequence[tuple[Known, _Row]]) -> None:
        rows = [row for _, row in entities]
        if len(rows) == 1:
            if not (await self._execute(self._sql.insert, rows[0])).rowcount:
                await self._raise_conflict(*entities[0][0])
            return
        inserted = (await self._execute(self._sql.insert_many, rows)).scalars().all()
        if len(inserted) < len(rows):
            key, stored = self._sql.key.key, set(inserted)
            await self._raise_conflict(
                *next(known for known, row in entities if row[key] not in stored)
            )

    async def _update(self, entity: AggregateRoot[Any], version: int, row: _Row) -> None:
        row |= {KNOWN_ID: row.pop(self._sql.key.key), KNOWN_VERSION: version}
        update = self._sql.update.where(*self._scope)
        if not (await self._execute(update, row)).rowcount:
            await self._raise_conflict(entity, version)

    async def _raise_conflict(self, entity: AggregateRoot[Any], expected: int) -> None:
        known = {KNOWN_IDS: self._mapper.id_values([entity.id])}
        versions = self._sql.versions.where(*self._scope)
        stored: Any = (await self._execute(versions, known)).first()
        raise OptimisticConcurrencyError.stale_version(
            f"{entity.aggregate_type} {entity.id}", expected, stored and stored[1]
        )

    def _parts(self, ids: Sequence[Any], entities: Sequence[Known]) -> list[list[_Row]]:
        """By relation, the rows of all of them."""
        return [
            [
                row
                for key, (entity, _) in zip(ids, entities)  # noqa: B905
                for row in relation.rows_of(key, entity.__dict__[relation.name])
            ]
            for relation in self._mapper.relations
        ]

    async def _write_parts(self, parts: list[list[_Row]], changed: list[Any]) -> None:
        for relation, rows in zip(self._mapper.relations, parts):  # noqa: B905
            if changed:
                gone = relation.remove(self._sql.is_among, *self._scope)
                await self._execute(gone, {KNOWN_IDS: changed})
            if rows:
                await self._execute(relation.insert, rows)

    async def _execute(self, statement: Executable, given: Any) -> CursorResult[Any]:
        result = await self._connection.execute(statement, given)
        self.has_begun = True
        return result

    def _row(self, entity: AggregateRoot[Any]) -> _Row:
        row, keys = self._mapper.to_row(entity), self._mapper.renamed
        return {keys.get(name, name): value for name, value in row.items()} if keys else row
