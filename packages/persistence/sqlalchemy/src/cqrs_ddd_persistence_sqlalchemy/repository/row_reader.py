"""Rows of aggregates with what belongs to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.primitives.exceptions import ConcurrencyError

from .model_mapper import ModelMapper
from .statements import KNOWN_IDS, RepositoryStatements

_PIECE = 500
_ROUNDS = 10
"""In which somebody else may change what is being read."""


class RowReader:
    """Reads what a query finds, and each relation of all of it in one further statement.

    Statements see what was committed before each of them, so the parts are read together with the
    version of their aggregate: where that is another one by now, the aggregate is read again.
    """

    def __init__(
        self,
        mapper: ModelMapper[Any],
        sql: RepositoryStatements,
        query: Select[Any],
        scope: Sequence[ColumnElement[bool]],
    ) -> None:
        self._mapper = mapper
        self._sql = sql
        self._query = query
        self._scope = scope

    async def read(
        self, connection: AsyncConnection, given: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The aggregates that the query finds."""
        result = await connection.execute(self._query, given)
        if self._mapper.relations:
            return await self.of_rows(connection, result.all(), given)
        # Piece by piece: many objects at once are what the garbage collector spends its time on.
        return [
            entity for rows in result.partitions(_PIECE) for entity in self._mapper.from_rows(rows)
        ]

    async def of_rows(
        self,
        connection: AsyncConnection,
        rows: Sequence[Any],
        given: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Return the aggregates of rows that the query has found with the parameters ``given``."""
        if not self._mapper.relations:
            return self._mapper.from_rows(rows)
        by_id = self._by_id(rows)
        missing: Collection[Any] = list(by_id)
        for _ in range(_ROUNDS):
            missing = await self._add_parts(connection, by_id, missing) if missing else []
            if not missing:
                return [self._mapper.from_row(row) for row in by_id.values()]
            await self._read_again(connection, by_id, missing, given or {})
            missing = [each for each in missing if each in by_id]
        raise ConcurrencyError(
            f"{self._mapper.entity_type.__name__} was changed {_ROUNDS} times while its parts were "
            "read; read it again"
        )

    def _by_id(self, rows: Sequence[Any]) -> dict[Any, dict[str, Any]]:
        names = self._mapper.attributes
        found = (dict(zip(names, row)) for row in rows)  # noqa: B905
        return {row[self._mapper.id_attribute]: row for row in found}

    async def _add_parts(
        self, connection: AsyncConnection, by_id: dict[Any, dict[str, Any]], ids: Collection[Any]
    ) -> list[Any]:
        """Answers those whose parts are of another version."""
        others: dict[Any, None] = {}
        version = self._mapper.version_attribute
        for relation in self._mapper.relations:
            query = relation.read(self._sql.version).where(self._sql.is_among, *self._scope)
            rows = (await connection.execute(query, {KNOWN_IDS: list(ids)})).all()
            parts = relation.parts_of(rows)
            for each in ids:
                read_version, read_parts = parts.get(each, (None, []))
                if read_version == by_id[each][version]:
                    by_id[each][relation.name] = read_parts
                else:
                    others[each] = None
        return list(others)

    async def _read_again(
        self,
        connection: AsyncConnection,
        by_id: dict[Any, dict[str, Any]],
        ids: Collection[Any],
        given: Mapping[str, Any],
    ) -> None:
        query = self._query.limit(None).offset(None).where(self._sql.is_among)
        rows = (await connection.execute(query, {**given, KNOWN_IDS: list(ids)})).all()
        again = self._by_id(rows)
        for each in ids:
            if each in again:
                by_id[each] = again[each]
            else:
                del by_id[each]
