"""Collections that are tables of the application's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema, to_jsonable_python
from sqlalchemy import Column, Select, delete, select, type_coerce
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_advanced_core.exceptions import DocumentError, ProjectionStoreError
from cqrs_ddd_advanced_core.ports.projections import DOC_ID, Document, Fields
from cqrs_ddd_advanced_core.spi.document_fields import DeclaredType, DocumentFields
from cqrs_ddd_advanced_core.spi.documents import ensure_collection_name, written_document
from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.spi.checks import ensure_whole_objects
from cqrs_ddd_specifications.field_types import Kind
from cqrs_ddd_specifications.operators import IN, NOT_IN, Operator

from ...engine.driver import is_postgres, sqlstate, upsert_statement
from ...repository.statements import KNOWN_IDS, in_values
from ...specifications import apply_query_options, build_sqla_filter, in_order
from ...specifications.columns import mapper_of, target_of
from ...specifications.comparison import element_type

_REFUSED_VALUES = ("22", "23")
"""Classes of states of PostgreSQL: a value that does not fit, and one that a constraint forbids."""


class CollectionModel:
    """A declarative class: a row for each document, a column for each key.

    A row is what an INSERT of the document makes, so a key that is missing is the default of its
    column, or NULL. Raises ``ConfigError`` for a class that has no single key.
    """

    def __init__(self, collection: str, model: type) -> None:
        ensure_collection_name(collection)
        self.collection = collection
        self._model = model
        attributes = mapper_of(model).column_attrs
        mapped = {each.key: each.columns[0] for each in attributes}
        self._columns: dict[str, Column[Any]] = {
            name: column
            for name, column in mapped.items()
            if isinstance(column, Column) and column.computed is None
        }
        kinds = {name: target_of(model, name, frozenset()).type.kind for name in self._columns}
        keys = [name for name, column in self._columns.items() if column.primary_key]
        tables = {column.table for column in self._columns.values()}
        key_type = _KEYS.get(kinds[keys[0]]) if len(keys) == len(tables) == 1 else None
        if key_type is None:
            raise ConfigError(
                f"{model.__name__} cannot keep the documents of {collection}; give it one table, "
                "with a text, a whole number or a UUID for its only primary key"
            )
        self._table, self._key, self._key_type = tables.pop(), keys[0], key_type
        self._key_column = self._columns[self._key]
        # Wide, or a number that no key can be would be an error instead of no document.
        wide = type_coerce(self._key_column, element_type(self._key_column, kinds[self._key]))
        self._is_among = {each: in_values(wide, each) for each in (True, False)}
        self._rows = select(*(column.label(name) for name, column in self._columns.items()))
        self._values = _validator(self._columns)

    async def check(self, connection: AsyncConnection, fields: Fields) -> None:
        """Raises ``ProjectionStoreError`` for a field that is no column; types are not compared."""
        if not fields.keys() <= self._columns.keys():
            raise ProjectionStoreError(
                f"{self.collection} was asked for with the fields {', '.join(fields)}, and "
                f"{self._model.__name__} has {', '.join(self._columns)}; add what is missing to it"
            )
        await connection.execute(self._rows.limit(0))

    async def write(self, connection: AsyncConnection, docs: Mapping[str, Document]) -> None:
        rows = [self._row(doc_id, doc) for doc_id, doc in docs.items()]
        # In one order for all, or two writers would each wait for a row of the other.
        rows.sort(key=lambda row: row[self._key])
        insert = upsert_statement(connection, self._table)
        upsert = insert.on_conflict_do_update(
            index_elements=[self._key_column],
            set_={each: insert.excluded[each.key] for each in self._columns.values()},
        )
        with self._refusing(docs):
            for _, alike in groupby(rows, key=lambda row: row.keys()):
                values = [{self._columns[k].key: row[k] for k in row} for row in alike]
                await connection.execute(upsert, values)

    async def read(
        self, connection: AsyncConnection, doc_ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """By id, in the order asked for."""
        keys = self._keys_of(doc_ids)
        query = self._rows.where(self._is_among[is_postgres(connection)])
        rows = (await connection.execute(query, {KNOWN_IDS: list(keys.values())})).all()
        found = {row._mapping[self._key]: self.document(row) for row in rows}
        return {doc_id: found[key] for doc_id, key in keys.items() if key in found}

    async def delete(self, connection: AsyncConnection, doc_ids: Sequence[str]) -> None:
        # In the order in which they are written, or two writers would each wait for the other.
        gone = (
            select(self._key_column)
            .where(self._is_among[is_postgres(connection)])
            .order_by(in_order(self._key_column))
            .with_for_update()
            .cte("gone")
        )
        statement = delete(self._table).where(self._key_column.in_(select(gone.c[0])))
        keys = list(self._keys_of(doc_ids).values())
        await connection.execute(statement, {KNOWN_IDS: keys})

    async def delete_all(self, connection: AsyncConnection) -> None:
        await connection.execute(delete(self._table))

    def query(self, criteria: Any) -> Select[Any]:
        """Rows of one document; raises ``SpecificationError`` before there is any SQL."""
        if isinstance(criteria, ISpecification):
            condition = build_sqla_filter(
                self._model, criteria, names=self._name, values=self._value
            )
            return self._rows.where(condition)
        ensure_whole_objects(criteria)
        page = apply_query_options(
            self._rows, self._model, criteria, names=self._name, values=self._value
        )
        if criteria.ordering or criteria.limit is not None or criteria.offset:
            page = page.order_by(in_order(self._key_column))
        return page

    def document(self, row: Any) -> dict[str, Any]:
        """What JSON makes of the values of the columns."""
        document: dict[str, Any] = to_jsonable_python(dict(row._mapping))
        return document

    def _row(self, doc_id: str, doc: Document) -> dict[str, Any]:
        written = written_document(self.collection, doc_id, doc, DocumentFields())
        try:
            row: dict[str, Any] = self._values.validate_json(written.document, strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)[0]
            name = str(next(iter(found["loc"]), ""))
            raise self._refusal(doc_id, name, found["msg"]) from error
        key = self._keys_of([doc_id]).get(doc_id)
        if key is None or row.setdefault(self._key, key) != key:
            raise self._refusal(doc_id, self._key, "it is not the id of the document")
        return row

    def _keys_of(self, doc_ids: Sequence[str]) -> dict[str, Any]:
        """By id, without those that no key is written as."""
        keys: dict[str, Any] = {}
        for doc_id in doc_ids:
            try:
                key = self._key_type(doc_id)
            except ValueError:
                continue
            is_kept = not isinstance(key, int) or -(2**63) <= key < 2**63
            if str(key) == doc_id and is_kept:
                keys[doc_id] = key
        return keys

    def _name(self, name: str) -> str:
        return self._key if name == DOC_ID else name

    def _value(self, name: str, operator: Operator, value: Any) -> Any:
        """What ids are asked for as, which are texts."""
        if name != DOC_ID:
            return value
        if operator in (IN, NOT_IN):
            return tuple(self._keys_of([each for each in value if isinstance(each, str)]).values())
        return self._keys_of([value]).get(value, value) if isinstance(value, str) else value

    def _refusal(self, doc_id: str, name: str, problem: str) -> DocumentError:
        return DocumentError(
            f"{doc_id!r} in {self.collection} has {name}, which {self._model.__name__} does not "
            f"take: {problem}; its keys are {', '.join(self._columns)}",
            collection=self.collection,
            doc_id=doc_id,
            field=name,
        )

    @contextmanager
    def _refusing(self, docs: Mapping[str, Document]) -> Iterator[None]:
        """What only a type or the database refuses is the document's fault, and no outage; the
        unit of work can only be rolled back."""
        try:
            yield
        except StatementError as error:
            is_of_database = isinstance(error, DBAPIError) and not isinstance(error, IntegrityError)
            if is_of_database and not (sqlstate(error) or "").startswith(_REFUSED_VALUES):
                raise
            raise DocumentError(
                f"{self._model.__name__} refuses a document of {self.collection}: {error.orig}; "
                "give it values that the columns take",
                collection=self.collection,
                doc_id=next(iter(docs)) if len(docs) == 1 else "",
            ) from error


@lru_cache(maxsize=1024)
def collection_model(collection: str, model: type) -> CollectionModel:
    """One for all units of work."""
    return CollectionModel(collection, model)


def _validator(columns: Mapping[str, Column[Any]]) -> SchemaValidator:
    fields = {}
    for name, column in columns.items():
        kind = column.type.python_type
        schema = core_schema.nullable_schema(TypeAdapter(_TYPES.get(kind, kind)).core_schema)
        fields[name] = core_schema.typed_dict_field(schema, required=False)
    return SchemaValidator(core_schema.typed_dict_schema(fields, extra_behavior="forbid"))


_KEYS: dict[Kind, type[Any]] = {Kind.TEXT: str, Kind.INTEGER: int, Kind.UUID: UUID}
_TYPES: dict[type[Any], Any] = {
    **{kind: DeclaredType(kind).annotation for kind in (int, float, datetime)},
    # A column of JSON holds any, whatever its type says.
    **dict.fromkeys((dict, list), Any),
}
