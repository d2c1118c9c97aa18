"""Conditions on JSON: jsonb on PostgreSQL, and the in-memory evaluator on SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from cqrs_ddd_specifications import operators as ops
from cqrs_ddd_specifications.field_types import JSON

from ..engine.sqlite import JSON_FUNCTION
from . import comparison, text
from .dialects import ByDialect, Document, Expression, Predicate

JsonbBuilder = Callable[[Expression, Any], Predicate]
"""Function from an expression of type jsonb and an operand to a condition."""


def build_document_condition(
    column: Expression, operator: ops.Operator, keys: Sequence[str], value: object
) -> Predicate:
    """Build the condition that a value under the keys satisfies the operator.

    Without keys it is a condition on the document itself.
    """
    return ByDialect(
        _build_for_postgres(Document(column), operator, keys, value),
        _build_for_sqlite(column, operator.name, keys, value),
    )


def build_has_value(column: Expression, keys: Sequence[str]) -> Predicate:
    """Build the condition that a value exists under the keys, even if it is null."""
    return ByDialect(
        sa.func.jsonb_path_exists(Document(column), _jsonpath(keys)),
        _build_for_sqlite(column, None, keys, None),
    )


def _build_for_sqlite(
    column: Expression, operator: str | None, keys: Sequence[str], value: object
) -> Predicate:
    condition = sa.literal(to_json([operator, list(keys), value]).decode(), sa.Text())
    evaluate: sa.Function[int] = getattr(sa.func, JSON_FUNCTION)(
        column, condition, type_=sa.Integer()
    )
    return evaluate == 1


def _build_for_postgres(
    document: Expression, operator: ops.Operator, keys: Sequence[str], value: object
) -> Predicate:
    build = _BUILDERS[operator]
    if not keys:
        if comparison.accepts_none(operator, value):
            return sa.or_(document.is_(None), build(document, value))
        return build(document, value)
    query = sa.func.jsonb_path_query(document, _jsonpath(keys), type_=JSONB())
    return _exists(build(query.column_valued(), value))


def _exists(condition: Predicate) -> Predicate:
    return sa.exists(sa.select(sa.literal(1, sa.Integer())).where(condition))


def _jsonpath(keys: Sequence[str]) -> Expression:
    # In lax mode a key applied to a list finds the values of all its elements.
    path = "$" + "".join(f".{json.dumps(key, ensure_ascii=False)}" for key in keys)
    return sa.literal(path, JSONPATH())


def _jsonb(value: object) -> Expression:
    return sa.literal(value, JSONB())


def _texts(values: Sequence[str]) -> Expression:
    return sa.literal(list(values), sa.ARRAY(sa.Text()))


def _elements(values: Sequence[object]) -> Expression:
    return sa.func.jsonb_array_elements(_jsonb(list(values)), type_=JSONB()).column_valued()


def _unquote(document: Expression) -> Expression:
    """Return the text of a JSON string."""
    return document.op("#>>", return_type=sa.Text())(_texts([]))


def _is_a(document: Expression, kind: str) -> Predicate:
    return sa.func.jsonb_typeof(document) == kind


def _build_equal(document: Expression, value: object) -> Predicate:
    return _is_a(document, "null") if value is None else document == _jsonb(value)


def _build_ordered(operator: ops.Operator) -> JsonbBuilder:
    compare = comparison.COMPARE[operator]

    def build(document: Expression, value: object) -> Predicate:
        if isinstance(value, str):
            return sa.and_(
                _is_a(document, "string"), compare(_unquote(document).collate("C"), value)
            )
        if not isinstance(value, (int, float)):
            return sa.false()
        kind = "boolean" if isinstance(value, bool) else "number"
        return sa.and_(_is_a(document, kind), compare(document, _jsonb(value)))

    return build


def _build_between(document: Expression, value: tuple[object, object]) -> Predicate:
    return sa.and_(_BUILDERS[ops.GE](document, value[0]), _BUILDERS[ops.LE](document, value[1]))


def _build_in(document: Expression, values: Sequence[object]) -> Predicate:
    return document.in_(sa.select(_elements(values)))


def _build_text(operator: ops.Operator) -> JsonbBuilder:
    def build(document: Expression, value: object) -> Predicate:
        matches = text.MATCHES[operator](_unquote(document), value, JSON)
        return sa.and_(_is_a(document, "string"), matches)

    return build


def _build_contains_any(document: Expression, values: Sequence[object]) -> Predicate:
    element = sa.func.jsonb_build_array(_elements(values), type_=JSONB())
    return _exists(document.bool_op("@>")(element))


def _build_operator(symbol: str, kind: str, operand: Callable[[Any], Expression]) -> JsonbBuilder:
    """Build a jsonb operator on documents of one JSON type."""

    def build(document: Expression, value: object) -> Predicate:
        return sa.and_(_is_a(document, kind), document.bool_op(symbol)(operand(value)))

    return build


def _build_containment(symbol: str) -> JsonbBuilder:
    def build(document: Expression, value: object) -> Predicate:
        return sa.and_(~_is_a(document, "null"), document.bool_op(symbol)(_jsonb(value)))

    return build


_BUILDERS: dict[ops.Operator, JsonbBuilder] = {
    ops.EQ: _build_equal,
    **{operator: _build_ordered(operator) for operator in (ops.LT, ops.LE, ops.GT, ops.GE)},
    ops.BETWEEN: _build_between,
    ops.IN: _build_in,
    ops.IS_NULL: lambda document, value: _is_a(document, "null"),
    ops.IS_EMPTY: lambda document, value: _build_in(document, [None, "", [], {}]),
    **{operator: _build_text(operator) for operator in text.MATCHES},
    ops.CONTAINS_ANY: _build_contains_any,
    ops.CONTAINS_ALL: _build_operator("@>", "array", lambda values: _jsonb(list(values))),
    ops.HAS_KEY: _build_operator("?", "object", lambda key: sa.literal(key, sa.Text())),
    ops.HAS_ANY: _build_operator("?|", "object", _texts),
    ops.HAS_ALL: _build_operator("?&", "object", _texts),
    ops.JSON_CONTAINS: _build_containment("@>"),
    ops.JSON_CONTAINED_BY: _build_containment("<@"),
    ops.PATH_EXISTS: lambda document, keys: sa.func.jsonb_path_exists(document, _jsonpath(keys)),
}
