"""Table of one collection, and the statements on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID
from zlib import crc32

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.orm import registry

from cqrs_ddd_advanced_core.ports.projections import DOC_ID, Document
from cqrs_ddd_advanced_core.spi.document_fields import (
    DOC,
    DOC_TENANT,
    DeclaredType,
    DocumentFields,
)
from cqrs_ddd_advanced_core.spi.documents import EncodedDocument, decode_document, encode_document

from ...engine import AsyncConnection, driver
from ...schema.column_types import ColumnType, ExactDecimal, Json, UtcDateTime
from ...schema.tables import Tables
from ...schema.tenants import create_tenant_column, is_visible
from ...specifications import Criteria, apply_criteria, options


@dataclass(frozen=True, eq=False)
class CollectionTable:
    """Table of one collection, and the statements on it.

    Args:
        tables: tables of the toolkit.
        collection: name of the collection.
        number: identifies the table, even after the collection has got another table.
        fields: declared fields of the documents.
        is_postgres: True for PostgreSQL, False for SQLite.
    """

    tables: Tables
    collection: str
    number: int
    fields: DocumentFields
    is_postgres: bool

    @cached_property
    def table(self) -> sa.Table:
        """Definition of the table, with an indexed column for each declared field."""
        names = f"{self.tables.advanced.view_prefix}{self.number}"
        table = sa.Table(
            self.name,
            sa.MetaData(schema=self.tables.schema),
            create_tenant_column(DOC_TENANT),
            sa.Column(DOC_ID, _text_type(self.is_postgres), nullable=False),
            # JSON, since JSONB would change large floats to integers and sort the keys.
            sa.Column(DOC, sa.JSON, nullable=False),
            *(
                sa.Column(name, _column_type(each, self.is_postgres))
                for name, each in self.fields.items()
            ),
            sa.Column(self._shape, sa.Boolean),
            sa.PrimaryKeyConstraint(DOC_TENANT, DOC_ID, name=f"pk_{names}"),
        )
        for place, (name, each) in enumerate(self.fields.items()):
            if not each.is_json:
                sa.Index(f"ix_{names}_{place}", table.c[DOC_TENANT], table.c[name])
        return table

    @property
    def name(self) -> str:
        """Name of the table: a prefix, and the name of the collection."""
        return f"{self.tables.advanced.view_prefix}{self.collection}"

    @cached_property
    def quoted_name(self) -> str:
        """Name with its schema, quoted where necessary."""
        return driver.quote_table(self.table, self.is_postgres)

    def select(self, criteria: Criteria, tenant_id: str) -> sa.Select[Any]:
        """Select the documents of a tenant that satisfy the criteria.

        Raises:
            SpecificationError: the fields do not support the criteria; no SQL is built.
        """
        rows = self._select_rows(tenant_id)
        return apply_criteria(rows, self._model, criteria, self.table.c[DOC_ID])

    def count(self, criteria: Criteria, tenant_id: str) -> sa.Select[Any]:
        """Count the documents of all pages."""
        return options.count_rows(self._select_rows(tenant_id), self._model, criteria)

    def read_row(self, row: sa.Row[Any]) -> dict[str, Any]:
        """Return the document of a row of ``select``."""
        return decode_document(row[0])

    async def write(
        self, connection: AsyncConnection, tenant_id: str, docs: Mapping[str, Document]
    ) -> None:
        """Insert or replace documents of a tenant by one statement, in the order of their ids.

        Raises:
            DocumentError: a value does not fit its declared field.
        """
        if not docs:
            return
        documents = [
            encode_document(self.collection, doc_id, doc, self.fields)
            for doc_id, doc in docs.items()
        ]
        # All writers use the same order, or two could deadlock.
        documents.sort(key=lambda each: each.doc_id)
        if self.is_postgres:
            await driver.fetch(connection, self.upsert, *self.to_parameters(tenant_id, documents))
        else:
            rows = self.to_parameters(tenant_id, documents)
            await driver.execute_many(connection, self.upsert, rows)

    async def read(
        self, connection: AsyncConnection, tenant_id: str, doc_ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Return the documents of a tenant by id, in the order of the ids, by one statement."""
        if not doc_ids:
            return {}
        if len(doc_ids) == 1:
            rows = await driver.fetch(connection, self.get, tenant_id, *doc_ids)
        else:
            ids = self._id_parameter(doc_ids)
            rows = await driver.fetch(connection, self.get_many, tenant_id, ids)
        documents = {row[0]: row[1] for row in rows}
        return {each: decode_document(documents[each]) for each in doc_ids if each in documents}

    async def delete(
        self, connection: AsyncConnection, tenant_id: str, doc_ids: Sequence[str]
    ) -> None:
        """Delete documents of a tenant by one statement."""
        if doc_ids:
            ids = self._id_parameter(doc_ids)
            await driver.fetch(connection, self.delete_many, tenant_id, ids)

    async def delete_all(self, connection: AsyncConnection, tenant_id: str | None) -> None:
        """Delete all rows of a tenant, or of all tenants for None."""
        # TRUNCATE would block readers until the commit.
        visible = is_visible(self.table.c[DOC_TENANT], tenant_id)
        await connection.execute(sa.delete(self.table).where(visible))

    @cached_property
    def upsert(self) -> str:
        """INSERT that takes one array per column on PostgreSQL, and one row on SQLite."""
        names = [DOC_TENANT, DOC_ID, DOC, *self.fields]
        quoted = [self._quote(name) for name in names]
        if self.is_postgres:
            kinds = [
                "text",
                "text",
                "json",
                *(_POSTGRES_TYPES[each.kind] for each in self.fields.values()),
            ]
            # Arrays of JSON are passed as text, since SQLAlchemy disables JSON in the driver.
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
        changes = ", ".join(f"{name} = excluded.{name}" for name in quoted[2:])
        return (
            f"INSERT INTO {self.quoted_name} AS kept ({', '.join(quoted)}) {rows} "
            f"ON CONFLICT ({DOC_TENANT}, {DOC_ID}) DO UPDATE SET {changes} "
            f"WHERE kept.{self._shape} IS NULL"
        )

    def to_parameters(
        self, tenant_id: str, documents: Sequence[EncodedDocument]
    ) -> Sequence[Sequence[Any]]:
        """Return the parameters of ``upsert``: columns on PostgreSQL, rows on SQLite."""
        columns: list[list[Any]] = [
            [tenant_id] * len(documents),
            [each.doc_id for each in documents],
            [each.document.decode() for each in documents],
        ]
        for name, encode in self._encoders.items():
            values = [each.values[name] for each in documents]
            if encode is not None:
                values = [None if value is None else encode(value) for value in values]
            columns.append(values)
        return columns if self.is_postgres else list(zip(*columns, strict=True))

    @cached_property
    def get(self) -> str:
        """SELECT of one document of a tenant by id."""
        return self._adapt(f"SELECT {DOC_ID}, {_READ} FROM {self._of_tenant} AND {DOC_ID} = $2")

    @cached_property
    def get_many(self) -> str:
        """SELECT of the documents of a tenant in a list of ids, which is one parameter."""
        return self._adapt(
            f"SELECT {DOC_ID}, {_READ} FROM {self._of_tenant} AND {DOC_ID} {self._in_ids}"
        )

    @cached_property
    def delete_many(self) -> str:
        """DELETE of the documents of a tenant in a list of ids, which is one parameter."""
        if not self.is_postgres:
            return self._adapt(f"DELETE FROM {self._of_tenant} AND {DOC_ID} {self._in_ids}")
        # Locked in the order of ``write``, or two writers could deadlock.
        return (
            f"WITH gone AS (SELECT {DOC_ID} FROM {self._of_tenant} AND {DOC_ID} {self._in_ids} "
            f"ORDER BY {DOC_ID} FOR UPDATE) DELETE FROM {self.quoted_name} AS kept USING gone "
            f"WHERE kept.{DOC_TENANT} = $1 AND kept.{DOC_ID} = gone.{DOC_ID}"
        )

    def _id_parameter(self, doc_ids: Sequence[str]) -> Any:
        return list(doc_ids) if self.is_postgres else to_json(doc_ids).decode()

    def _select_rows(self, tenant_id: str) -> sa.Select[Any]:
        is_own = self.table.c[DOC_TENANT] == tenant_id
        rows = sa.select(sa.cast(self.table.c[DOC], sa.Text)).where(is_own)
        if self.is_postgres:
            return rows
        # The query fails if the fields have changed; SQLite would compare with other types.
        return rows.add_columns(self.table.c[self._shape])

    @cached_property
    def _model(self) -> type[Any]:
        """Class mapped to the columns that criteria may name."""
        model = type(self.collection, (), {})
        registry().map_imperatively(
            model,
            self.table,
            include_properties=[DOC_ID, *self.fields],
            primary_key=[self.table.c[DOC_ID]],  # Of the documents of one tenant.
        )
        return model

    @cached_property
    def _encoders(self) -> dict[str, Callable[[Any], object] | None]:
        dialect = driver.get_dialect(self.is_postgres)

        def choose(name: str, field: DeclaredType) -> Callable[[Any], object] | None:
            if field.is_json:
                return _encode_json
            kind = self.table.c[name].type
            return None if self.is_postgres else kind.dialect_impl(dialect).bind_processor(dialect)

        return {name: choose(name, field) for name, field in self.fields.items()}

    @cached_property
    def _shape(self) -> str:
        """Column without values, named by a hash of the fields.

        A statement of a process with other fields fails, instead of leaving new columns empty.
        """
        fields = sorted(self.fields.type_names.items())
        return f"shape_{crc32(to_json(fields)):08x}"

    @property
    def _in_ids(self) -> str:
        return "= ANY($2::text[])" if self.is_postgres else "IN (SELECT value FROM json_each($2))"

    @property
    def _of_tenant(self) -> str:
        return f"{self.quoted_name} WHERE {DOC_TENANT} = $1"

    def _adapt(self, statement: str) -> str:
        return driver.adapt_parameters(statement, self.is_postgres)

    def _quote(self, name: str) -> str:
        return driver.get_dialect(self.is_postgres).identifier_preparer.quote(name)


_READ = f"CAST({DOC} AS TEXT)"
"""JSON as text, since the driver of PostgreSQL would decode it."""


_POSTGRES_TYPES: dict[type, str] = {
    str: "text",
    int: "bigint",
    float: "float8",
    bool: "boolean",
    Decimal: "numeric",
    datetime: "timestamptz",
    date: "date",
    UUID: "uuid",
    dict: "jsonb",
    list: "jsonb",
}
"""SQL types of the arrays that ``upsert`` takes."""
_COLUMN_TYPES: dict[type, ColumnType] = {
    int: sa.BigInteger(),
    float: sa.Float(53),
    bool: sa.Boolean(),
    datetime: UtcDateTime(),
    date: sa.Date(),
    UUID: sa.Uuid(),
    dict: Json,
    list: Json,
}


def _column_type(field: DeclaredType, is_postgres: bool) -> ColumnType:
    if field.kind is str:
        return _text_type(is_postgres)
    if field.kind is Decimal:
        return ExactDecimal(field.digits, field.places)
    return _COLUMN_TYPES[field.kind]


def _text_type(is_postgres: bool) -> sa.Text:
    """Return the type of texts that sort by code point, as ids and specifications do."""
    return sa.Text(collation="C") if is_postgres else sa.Text()


def _encode_json(value: object) -> str:
    return to_json(value).decode()
