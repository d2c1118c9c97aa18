"""Rows of aggregates, written under the versions that are known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.adapters.refusals import another_version
from cqrs_ddd_core.domain.aggregate import AggregateRoot

from .mapping import ModelMapper
from .repository_sql import KNOWN_ID, KNOWN_IDS, KNOWN_VERSION, RepositoryStatements

Known = tuple[AggregateRoot[Any], int]
"""An aggregate, and the version that is stored of it; 0 for none."""


class RowWriting:
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

    async def save(self, entities: Sequence[Known]) -> None:
        await self._insert([entity for entity, version in entities if not version])
        changed = [(entity, version) for entity, version in entities if version]
        for entity, version in changed:
            await self._update(entity, version)
        if self._mapper.relations:
            await self._write_parts([entity for entity, _ in entities], is_new=not changed)

    async def delete(self, entity_id: Any) -> None:
        given = {KNOWN_ID: self._mapper.id_values([entity_id])[0]}
        for relation in self._mapper.relations:
            parts = relation.remove(self._sql.is_the_one, *self._scope)
            await self._connection.execute(parts, given)
        await self._connection.execute(self._sql.delete.where(*self._scope), given)

    async def _insert(self, entities: Sequence[AggregateRoot[Any]]) -> None:
        if not entities:
            return
        rows = [self._row(entity) for entity in entities]
        if len(rows) == 1:
            if not (await self._connection.execute(self._sql.insert, rows[0])).rowcount:
                await self._refuse(entities[0], 0)
            return
        inserted = (await self._connection.execute(self._sql.insert_many, rows)).scalars().all()
        if len(inserted) < len(rows):
            key, stored = self._sql.key.key, set(inserted)
            pairs = zip(entities, rows)  # noqa: B905
            await self._refuse(next(each for each, row in pairs if row[key] not in stored), 0)

    async def _update(self, entity: AggregateRoot[Any], version: int) -> None:
        row = self._row(entity)
        row |= {KNOWN_ID: row.pop(self._sql.key.key), KNOWN_VERSION: version}
        update = self._sql.update.where(*self._scope)
        if not (await self._connection.execute(update, row)).rowcount:
            await self._refuse(entity, version)

    async def _refuse(self, entity: AggregateRoot[Any], expected: int) -> None:
        known = {KNOWN_IDS: self._mapper.id_values([entity.id])}
        versions = self._sql.versions.where(*self._scope)
        stored = (await self._connection.execute(versions, known)).first()
        raise another_version(entity, expected, stored and stored[1])

    async def _write_parts(self, entities: Sequence[AggregateRoot[Any]], *, is_new: bool) -> None:
        ids = self._mapper.id_values(entity.id for entity in entities)
        for relation in self._mapper.relations:
            if not is_new:
                gone = relation.remove(self._sql.is_among, *self._scope)
                await self._connection.execute(gone, {KNOWN_IDS: ids})
            rows = [
                row
                for key, entity in zip(ids, entities)  # noqa: B905
                for row in relation.rows_of(key, entity.__dict__[relation.name])
            ]
            if rows:
                await self._connection.execute(relation.insert, rows)

    def _row(self, entity: AggregateRoot[Any]) -> dict[str, Any]:
        """By the keys of the columns."""
        row, keys = self._mapper.to_row(entity), self._mapper.renamed
        return {keys.get(name, name): value for name, value in row.items()} if keys else row
