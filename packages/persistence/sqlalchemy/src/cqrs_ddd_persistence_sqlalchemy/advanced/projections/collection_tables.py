"""The table of one collection, and the statements on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    cast,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import registry

from cqrs_ddd_advanced_core.ports.projections import DOC_ID, Document
from cqrs_ddd_advanced_core.spi.document_fields import DOC, DocumentFields
from cqrs_ddd_advanced_core.spi.documents import EncodedDocument, decode_document, encode_document
from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.spi.checks import ensure_whole_objects

from ...engine.driver import execute_many, fetch
from ...schema.tables import Tables
from ...specifications import apply_query_options, build_sqla_filter, in_order
from .column_types import TYPES_ON_POSTGRES, column_type, ordered_text


@dataclass(frozen=True, eq=False)
class CollectionTable:
    """``number`` is of this table alone, also when it gets another name."""

    tables: Tables
    collection: str
    number: int
    fields: DocumentFields
    is_postgres: bool

    @cached_property
    def table(self) -> Table:
        names = f"{self.tables.advanced.view_prefix}{self.number}"
        table = Table(
            self.name,
            MetaData(schema=self.tables.schema),
            Column(DOC_ID, ordered_text(self.is_postgres), nullable=False),
            # As text: JSONB would make whole numbers of large ones with a point, and sort the keys.
            Column(DOC, JSON, nullable=False),
            *(
                Column(name, column_type(each, self.is_postgres))
                for name, each in self.fields.items()
            ),
            Column(self._shape, Boolean),
            PrimaryKeyConstraint(DOC_ID, name=f"pk_{names}"),
        )
        for place, (name, each) in enumerate(self.fields.items()):
            if not each.is_json:
                Index(f"ix_{names}_{place}", table.c[name])
        return table

    @property
    def name(self) -> str:
        return f"{self.tables.advanced.view_prefix}{self.collection}"

    @cached_property
    def quoted_name(self) -> str:
        quoted: str = self._dialect.identifier_preparer.format_table(self.table)
        return quoted

    def query(self, criteria: Any) -> Select[Any]:
        """Rows of one document; raises ``SpecificationError`` before there is any SQL."""
        columns = self.table.c
        rows = select(cast(columns[DOC], Text))
        if not self.is_postgres:
            # SQLite would compare what a column of another type has as if it were of this one.
            rows = rows.add_columns(columns[self._shape])
        if isinstance(criteria, ISpecification):
            return rows.where(build_sqla_filter(self._model, criteria))
        ensure_whole_objects(criteria)
        page = apply_query_options(rows, self._model, criteria)
        if criteria.ordering or criteria.limit is not None or criteria.offset:
            page = page.order_by(in_order(columns[DOC_ID]))
        return page

    def document(self, row: Any) -> dict[str, Any]:
        return decode_document(row[0])

    async def write(self, connection: AsyncConnection, docs: Mapping[str, Document]) -> None:
        documents = [
            encode_document(self.collection, doc_id, doc, self.fields)
            for doc_id, doc in docs.items()
        ]
        # In one order for all, or two writers would each wait for a row of the other.
        documents.sort(key=lambda each: each.doc_id)
        if self.is_postgres:
            await fetch(connection, self.upsert, *self.given(documents))
        else:
            await execute_many(connection, self.upsert, self.given(documents))

    async def read(
        self, connection: AsyncConnection, doc_ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """By id, in the order asked for."""
        if len(doc_ids) == 1:
            rows = await fetch(connection, self.get, *doc_ids)
        else:
            rows = await fetch(connection, self.get_many, self.given_ids(doc_ids))
        documents = {row[0]: row[1] for row in rows}
        return {each: decode_document(documents[each]) for each in doc_ids if each in documents}

    async def delete(self, connection: AsyncConnection, doc_ids: Sequence[str]) -> None:
        await fetch(connection, self.delete_many, self.given_ids(doc_ids))

    async def delete_all(self, connection: AsyncConnection) -> None:
        # TRUNCATE would let readers wait until the commit.
        await fetch(connection, f"DELETE FROM {self.quoted_name}")

    @cached_property
    def upsert(self) -> str:
        """On PostgreSQL an array for each column, on SQLite a row."""
        names = [DOC_ID, DOC, *self.fields]
        quoted = [self._quote(name) for name in names]
        if self.is_postgres:
            kinds = [
                "text",
                "json",
                *(TYPES_ON_POSTGRES[each.kind] for each in self.fields.values()),
            ]
            # JSON comes as text, since SQLAlchemy tells the driver to leave it as it is.
            arrays = [
                f"${place}::{'text' if 'json' in kind else kind}[]"
                for place, kind in enumerate(kinds, 1)
            ]
            given = [f"c{place}" for place in range(len(names))]
            values = [
                f"{name}::{kind}" if "json" in kind else name
                for name, kind in zip(given, kinds, strict=True)
            ]
            rows = (
                f"SELECT {', '.join(values)} "
                f"FROM unnest({', '.join(arrays)}) AS given({', '.join(given)})"
            )
        else:
            rows = f"VALUES ({', '.join('?' * len(names))})"
        changes = ", ".join(f"{name} = excluded.{name}" for name in quoted[1:])
        return (
            f"INSERT INTO {self.quoted_name} AS kept ({', '.join(quoted)}) {rows} "
            f"ON CONFLICT ({DOC_ID}) DO UPDATE SET {changes} WHERE kept.{self._shape} IS NULL"
        )

    def given(self, documents: Sequence[EncodedDocument]) -> Sequence[Sequence[Any]]:
        """What ``upsert`` takes of them: columns on PostgreSQL, rows on SQLite."""
        columns: list[list[Any]] = [
            [each.doc_id for each in documents],
            [each.document.decode() for each in documents],
        ]
        for name, write in self._writers.items():
            values = [each.values[name] for each in documents]
            columns.append(
                values
                if write is None
                else [None if value is None else write(value) for value in values]
            )
        return columns if self.is_postgres else list(zip(*columns, strict=True))

    @cached_property
    def get(self) -> str:
        place = "$1" if self.is_postgres else "?"
        return f"SELECT {DOC_ID}, {_READ} FROM {self.quoted_name} WHERE {DOC_ID} = {place}"

    @cached_property
    def get_many(self) -> str:
        return f"SELECT {DOC_ID}, {_READ} FROM {self.quoted_name} WHERE {DOC_ID} {self._in_ids}"

    @cached_property
    def delete_many(self) -> str:
        if not self.is_postgres:
            return f"DELETE FROM {self.quoted_name} WHERE {DOC_ID} {self._in_ids}"
        # In the order in which they are written, or two writers would each wait for the other.
        return (
            f"WITH gone AS (SELECT {DOC_ID} FROM {self.quoted_name} WHERE {DOC_ID} {self._in_ids} "
            f"ORDER BY {DOC_ID} FOR UPDATE) DELETE FROM {self.quoted_name} AS kept USING gone "
            f"WHERE kept.{DOC_ID} = gone.{DOC_ID}"
        )

    def given_ids(self, doc_ids: Sequence[str]) -> Any:
        return list(doc_ids) if self.is_postgres else to_json(doc_ids).decode()

    @cached_property
    def _model(self) -> type[Any]:
        """A class of its own for what may be asked for."""
        model = type(self.collection, (), {})
        registry().map_imperatively(model, self.table, include_properties=[DOC_ID, *self.fields])
        return model

    @cached_property
    def _writers(self) -> dict[str, Callable[[Any], Any] | None]:
        if self.is_postgres:
            return {name: _json if each.is_json else None for name, each in self.fields.items()}
        dialect = self._dialect
        return {
            name: _json
            if each.is_json
            else self.table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
            for name, each in self.fields.items()
        }

    @cached_property
    def _shape(self) -> str:
        """A column without values, whose name tells the fields: a statement of a process that knows
        other ones fails, instead of leaving a new column empty."""
        fields = sorted(self.fields.type_names.items())
        return f"shape_{crc32(to_json(fields)):08x}"

    @cached_property
    def _dialect(self) -> Any:
        return postgresql.dialect() if self.is_postgres else sqlite.dialect()  # type: ignore[no-untyped-call]

    @property
    def _in_ids(self) -> str:
        return "= ANY($1::text[])" if self.is_postgres else "IN (SELECT value FROM json_each(?))"

    def _quote(self, name: str) -> str:
        quoted: str = self._dialect.identifier_preparer.quote(name)
        return quoted


_READ = f"CAST({DOC} AS TEXT)"
"""As it is: the driver of PostgreSQL is set up to read JSON by itself."""


def _json(value: Any) -> str:
    return to_json(value).decode()
