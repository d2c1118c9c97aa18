"""Reader of the rows of aggregates, with their parts in related tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core import ConcurrencyError

from .field_mapping import Row
from .model_mapper import ModelMapper, T
from .statements import KNOWN_IDS, RepositoryStatements, Scope

_PARTITION = 500
_ROUNDS = 10
"""Reads of an aggregate that other transactions may invalidate by a change."""

RowsById = dict[object, Row]
Parameters = Mapping[str, object]


class RowReader(Generic[T]):
    """Reader of the rows that a query finds, and of each relation by one further statement.

    A statement sees the rows that were committed before it, so the parts are read together with the
    version of their aggregate. If the version has changed, the aggregate is read again.

    Args:
        mapper: mapping of the rows to aggregates.
        sql: statements for the database.
        query: the rows to read.
        scope: conditions that limit every statement.
        parameters: values of the query.
    """

    def __init__(
        self,
        mapper: ModelMapper[T],
        sql: RepositoryStatements,
        query: sa.Select[Any],
        scope: Scope,
        parameters: Parameters | None = None,
    ) -> None:
        self._mapper = mapper
        self._sql = sql
        self._query = query
        self._scope = scope
        self._parameters = parameters or {}

    async def read(self, connection: AsyncConnection) -> list[T]:
        """Return the aggregates that the query finds."""
        result = await connection.execute(self._query, self._parameters)
        if self._mapper.relations:
            return await self.complete(connection, result.all())
        # In partitions: the garbage collector would take most of the time for many new objects.
        partitions = result.partitions(_PARTITION)
        return [entity for rows in partitions for entity in self._mapper.from_rows(rows)]

    async def complete(self, connection: AsyncConnection, rows: Sequence[sa.Row[Any]]) -> list[T]:
        """Return the aggregates of rows that the query has found.

        Raises:
            ConcurrencyError: an aggregate has changed ten times while its parts were read.
        """
        if not self._mapper.relations:
            return self._mapper.from_rows(rows)
        by_id = self._group_by_id(rows)
        missing: Collection[object] = list(by_id)
        for _ in range(_ROUNDS):
            missing = await self._add_parts(connection, by_id, missing) if missing else []
            if not missing:
                return [self._mapper.from_row(row) for row in by_id.values()]
            await self._read_again(connection, by_id, missing)
            missing = [each for each in missing if each in by_id]
        raise ConcurrencyError(
            f"{self._mapper.entity_type.__name__} has changed {_ROUNDS} times while its parts were "
            "read; retry the read"
        )

    def _group_by_id(self, rows: Sequence[sa.Row[Any]]) -> RowsById:
        names = self._mapper.attributes
        found = (dict(zip(names, row)) for row in rows)  # noqa: B905
        return {row[self._mapper.id_attribute]: row for row in found}

    async def _add_parts(
        self, connection: AsyncConnection, by_id: RowsById, ids: Collection[object]
    ) -> list[object]:
        """Add the parts to the rows, and return the ids with parts of another version."""
        changed: dict[object, None] = {}
        version = self._mapper.version_attribute
        for relation in self._mapper.relations:
            query = relation.select(self._sql.version).where(self._sql.in_known_ids, *self._scope)
            rows = (await connection.execute(query, {KNOWN_IDS: list(ids)})).all()
            found = relation.read_parts(rows)
            for each in ids:
                read_version, parts = found.get(each, (None, []))
                if read_version == by_id[each][version]:
                    by_id[each][relation.name] = parts
                else:
                    changed[each] = None
        return list(changed)

    async def _read_again(
        self, connection: AsyncConnection, by_id: RowsById, ids: Collection[object]
    ) -> None:
        query = self._query.limit(None).offset(None).where(self._sql.in_known_ids)
        parameters = {**self._parameters, KNOWN_IDS: list(ids)}
        found = self._group_by_id((await connection.execute(query, parameters)).all())
        for each in ids:
            if each in found:
                by_id[each] = found[each]
            else:
                del by_id[each]
