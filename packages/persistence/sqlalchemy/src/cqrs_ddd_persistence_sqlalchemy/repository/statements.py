"""The SQL of the repository: one text a kind of statement, however many rows it is about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    any_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ..specifications.comparison import ListAsJson
from .model_mapper import ModelMapper

KNOWN_ID = "known__id"
KNOWN_IDS = "known__ids"
KNOWN_VERSION = "known__version"
"""Parameters, which must not be named like a column."""


class RepositoryStatements:
    """For one mapper, and for PostgreSQL or SQLite."""

    def __init__(self, mapper: ModelMapper[Any], is_postgres: bool) -> None:
        table = mapper.table
        key = self.key = mapper.key
        version = self.version = mapper.columns[-1]
        insert = postgres_insert(table) if is_postgres else sqlite_insert(table)
        self.is_the_one = key == bindparam(KNOWN_ID, type_=key.type)
        self.is_among = in_values(key, is_postgres)
        self.rows: Select[Any] = select(*mapper.columns)
        self.row = self.rows.where(self.is_the_one)
        self.rows_by_id = self.rows.where(self.is_among)
        self.versions = select(key, version).where(self.is_among)
        self.insert = insert.on_conflict_do_nothing(index_elements=[key])
        self.insert_many = self.insert.returning(key)
        self.update = update(table).where(
            self.is_the_one, version == bindparam(KNOWN_VERSION, type_=version.type)
        )
        self.delete = delete(table).where(self.is_the_one)


def in_values(key: ColumnElement[Any], is_postgres: bool) -> ColumnElement[bool]:
    """Whether it is one of ``KNOWN_IDS``, by one text and one parameter for any number."""
    if is_postgres:
        return key == any_(bindparam(KNOWN_IDS, type_=ARRAY(key.type)))
    given = func.json_each(bindparam(KNOWN_IDS, type_=ListAsJson(key.type)))
    return key.in_(select(given.table_valued("value").c.value))
