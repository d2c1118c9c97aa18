"""``regex`` and full-text search, which every database does in its own way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text, func, literal

from cqrs_ddd_specifications.field_types import FieldType
from cqrs_ddd_specifications.operators import FTS, FTS_PHRASE, IREGEX, REGEX, Operator

from .comparison import Condition
from .dialects import ByDialect, PostgresOnly


def _regex(column: ColumnElement[Any], value: str, field_type: FieldType) -> ColumnElement[bool]:
    return column.regexp_match(literal(value, Text()))


def _iregex(column: ColumnElement[Any], value: str, field_type: FieldType) -> ColumnElement[bool]:
    return ByDialect(
        column.op("~*", is_comparison=True)(literal(value, Text())),
        column.regexp_match(literal(f"(?i:{value})", Text())),
    )


def _words(column: ColumnElement[Any], value: str, field_type: FieldType) -> ColumnElement[bool]:
    return PostgresOnly(
        func.to_tsvector(column).op("@@")(func.plainto_tsquery(literal(value, Text())))
    )


def _phrase(column: ColumnElement[Any], value: str, field_type: FieldType) -> ColumnElement[bool]:
    return PostgresOnly(
        func.to_tsvector(column).op("@@")(func.phraseto_tsquery(literal(value, Text())))
    )


CONDITIONS: dict[Operator, Condition] = {
    REGEX: _regex,
    IREGEX: _iregex,
    FTS: _words,
    FTS_PHRASE: _phrase,
}
