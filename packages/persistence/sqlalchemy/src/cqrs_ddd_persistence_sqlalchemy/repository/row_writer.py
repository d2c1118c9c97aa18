"""Writer of the rows of aggregates, which detects conflicts by their version."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Generic

import sqlalchemy as sa

from cqrs_ddd_core import OptimisticConcurrencyError
from cqrs_ddd_core.unit_of_work import TrackedAggregates

from ..engine import AsyncConnection, is_postgres
from .field_mapping import Row
from .model_mapper import ModelMapper, T
from .statements import KNOWN_ID, KNOWN_IDS, KNOWN_VERSION, RepositoryStatements, Scope

Known = tuple[T, "int | None"]
"""Aggregate with its stored version, which is None for a new aggregate."""


class RowWriter(Generic[T]):
    """Writer of aggregates on one connection; an update applies to the loaded version only.

    Args:
        mapper: mapping of the aggregates to rows.
        sql: statements for the database.
        scope: conditions that limit every statement.
        connection: connection of the transaction.
        tracked: aggregates of the transaction.

    Raises:
        OptimisticConcurrencyError: a row has another version.
    """

    def __init__(
        self,
        mapper: ModelMapper[T],
        sql: RepositoryStatements,
        scope: Scope,
        connection: AsyncConnection,
        tracked: TrackedAggregates,
    ) -> None:
        self._mapper = mapper
        self._tracked = tracked
        self._sql = sql
        self._scope = scope
        self._connection = connection
        self.has_begun = False
        """True if the database has executed a statement."""

    async def save(self, entities: Sequence[Known[T]]) -> None:
        """Insert new aggregates and update changed ones, in the order of their ids.

        Successive new aggregates are inserted by one statement.
        """
        given = zip(self._mapper.encode_ids(each.id for each, _ in entities), entities)  # noqa: B905
        # All writers use the same order, or two writers could deadlock.
        in_order = sorted(given, key=lambda each: str(each[0]))
        ids, entities = [key for key, _ in in_order], [known for _, known in in_order]
        # All rows before the first statement, so that a rejected value changes nothing.
        rows = [self._to_row(entity) for entity, _ in entities]
        parts = self._collect_parts(ids, entities)
        for is_new, run in groupby(zip(entities, rows), lambda each: each[0][1] is None):  # noqa: B905
            if is_new:
                await self._insert(list(run))
            else:
                for known, row in run:
                    await self._update(known, row)
        changed = [key for key, (_, version) in zip(ids, entities) if version is not None]  # noqa: B905
        await self._write_parts(parts, changed)

    async def delete(self, entity_id: object) -> None:
        """Delete the parts of an aggregate, then its row."""
        (stored_id,) = self._mapper.encode_ids([entity_id])
        if not self._mapper.can_store_id(stored_id, is_postgres=is_postgres(self._connection)):
            return
        given = {KNOWN_ID: stored_id}
        if self._mapper.relations and is_postgres(self._connection):
            # Lock the aggregate before its parts, as in a save; SQLite has a single writer.
            lock = sa.select(self._sql.key).where(self._sql.is_known_id, *self._scope)
            if (await self._execute(lock.with_for_update(), given)).first() is None:
                return
        for relation in self._mapper.relations:
            await self._execute(relation.delete(self._sql.is_known_id, *self._scope), given)
        await self._execute(self._sql.delete.where(*self._scope), given)

    async def _insert(self, entities: Sequence[tuple[Known[T], Row]]) -> None:
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

    async def _update(self, known: Known[T], row: Row) -> None:
        row |= {KNOWN_ID: row.pop(self._sql.key.key), KNOWN_VERSION: known[1]}
        update = self._sql.update.where(*self._scope)
        if not (await self._execute(update, row)).rowcount:
            await self._raise_conflict(*known)

    async def _raise_conflict(self, entity: T, expected: int | None) -> None:
        known = {KNOWN_IDS: self._mapper.encode_ids([entity.id])}
        versions = self._sql.versions.where(*self._scope)
        stored: Any = (await self._execute(versions, known)).first()
        raise OptimisticConcurrencyError.stale_version(
            f"{entity.aggregate_type} {entity.id}",
            expected or 0,
            stored and (stored[1] or 0),
            was_absent=self._tracked.was_absent(entity.id),
            is_new=expected is None,
        )

    def _collect_parts(
        self, ids: Sequence[object], entities: Sequence[Known[T]]
    ) -> list[list[Row]]:
        """Return the rows of all aggregates for each relation."""
        found: list[list[Row]] = []
        for relation, checks in zip(self._mapper.relations, self._sql.part_checks):  # noqa: B905
            found.append([])
            for key, (entity, _) in zip(ids, entities):  # noqa: B905
                for row in relation.to_rows(key, entity.__dict__[relation.name]):
                    checks.ensure_kept(entity, row)
                    found[-1].append(row)
        return found

    async def _write_parts(self, parts: list[list[Row]], changed: list[object]) -> None:
        for relation, rows in zip(self._mapper.relations, parts):  # noqa: B905
            if changed:
                gone = relation.delete(self._sql.in_known_ids, *self._scope)
                await self._execute(gone, {KNOWN_IDS: changed})
            if rows:
                await self._execute(relation.insert, rows)

    async def _execute(
        self, statement: sa.Executable, parameters: Row | Sequence[Row]
    ) -> sa.CursorResult[Any]:
        result = await self._connection.execute(statement, parameters)
        self.has_begun = True
        return result

    def _to_row(self, entity: T) -> Row:
        row, keys = self._mapper.to_row(entity), self._mapper.renamed
        row = {keys.get(name, name): value for name, value in row.items()} if keys else row
        self._sql.checks.ensure_kept(entity, row)
        return row
