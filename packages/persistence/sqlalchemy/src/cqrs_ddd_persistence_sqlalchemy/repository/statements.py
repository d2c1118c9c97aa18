"""SQL of the repository, with one text per kind of statement for any number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ..specifications.comparison import ListAsJson
from ..specifications.dialects import Expression, Predicate
from .field_mapping import build_checks
from .model_mapper import ModelMapper
from .value_checks import RowChecks

Scope = Sequence[Predicate]
"""Conditions that limit every statement of a repository."""

KNOWN_ID = "known__id"
KNOWN_IDS = "known__ids"
KNOWN_VERSION = "known__version"
"""Names of parameters, which must differ from all names of columns."""


class RepositoryStatements:
    """Statements for one mapper, and for PostgreSQL or SQLite.

    Args:
        mapper: mapping of the table.
        is_postgres: True for PostgreSQL, False for SQLite.
    """

    def __init__(self, mapper: ModelMapper[Any], is_postgres: bool) -> None:
        self._mapper = mapper
        self._dialect = "postgresql" if is_postgres else "sqlite"
        table = mapper.table
        key = self.key = mapper.key
        version = self.version = mapper.columns[-1]
        insert = postgresql.insert(table) if is_postgres else sqlite.insert(table)
        self.is_known_id = key == sa.bindparam(KNOWN_ID, type_=key.type)
        self.in_known_ids = in_values(key, is_postgres)
        self.rows: sa.Select[Any] = sa.select(*mapper.columns)
        self.row = self.rows.where(self.is_known_id)
        self.rows_by_id = self.rows.where(self.in_known_ids)
        self.versions = sa.select(key, version).where(self.in_known_ids)
        self.insert = insert.on_conflict_do_nothing(index_elements=[key])
        self.insert_many = self.insert.returning(key)
        self.update = sa.update(table).where(
            self.is_known_id,
            # A table that was not made for the toolkit may have rows without a version.
            sa.func.coalesce(version, 0) == sa.bindparam(KNOWN_VERSION, type_=version.type),
        )
        self.delete = sa.delete(table).where(self.is_known_id)

    @cached_property
    def checks(self) -> RowChecks:
        """Checks of the rows of aggregates."""
        return build_checks(self._mapper.fields.values(), self._mapper.renamed, self._dialect)

    @cached_property
    def part_checks(self) -> list[RowChecks]:
        """Checks of the rows of each relation."""
        return [relation.build_checks(self._dialect) for relation in self._mapper.relations]


def in_values(key: Expression, is_postgres: bool) -> Predicate:
    """Return the condition that the key is in ``KNOWN_IDS``, which is a single parameter."""
    if is_postgres:
        return key == sa.any_(sa.bindparam(KNOWN_IDS, type_=sa.ARRAY(key.type)))
    ids = sa.func.json_each(sa.bindparam(KNOWN_IDS, type_=ListAsJson(key.type)))
    return key.in_(sa.select(ids.table_valued("value").c.value))
