"""What is asked of JSON: on PostgreSQL by jsonb, on SQLite by the evaluator that memory uses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Text,
    and_,
    exists,
    false,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from cqrs_ddd_specifications.field_types import JSON
from cqrs_ddd_specifications.memory.documents import extract_keys
from cqrs_ddd_specifications.memory.evaluator import compile_value_test
from cqrs_ddd_specifications.operators import (
    BETWEEN,
    CONTAINS_ALL,
    CONTAINS_ANY,
    EQ,
    GE,
    GT,
    HAS_ALL,
    HAS_ANY,
    HAS_KEY,
    IN,
    IS_EMPTY,
    IS_NULL,
    JSON_CONTAINED_BY,
    JSON_CONTAINS,
    LE,
    LT,
    OPERATORS,
    PATH_EXISTS,
    Operator,
)

from . import comparison, text
from .dialects import ByDialect, Document

SQLITE_FUNCTION = "cqrs_ddd_json"
"""``configure_sqlite`` gives it to every connection."""

_LONGEST_KEPT = 4_000

Jsonb = Callable[[Any, Any], ColumnElement[bool]]
"""Of an expression of type jsonb, and the given value."""


def document_condition(
    column: ColumnElement[Any], operator: Operator, keys: Sequence[str], value: Any
) -> ColumnElement[bool]:
    """Whether a value under the keys satisfies the operator; without keys, the column itself."""
    return ByDialect(
        _in_postgres(Document(column), operator, keys, value),
        _in_sqlite(column, operator.name, keys, value),
    )


def reaches(column: ColumnElement[Any], keys: Sequence[str]) -> ColumnElement[bool]:
    """Whether there is anything under the keys, be it null."""
    return ByDialect(
        func.jsonb_path_exists(Document(column), _jsonpath(keys)),
        _in_sqlite(column, None, keys, None),
    )


def answer(document: str | None, question: str) -> int:
    """The function of SQLite."""
    # What strangers may make long is not kept, or they would fill the memory with it.
    answering = _answering if len(question) <= _LONGEST_KEPT else _answering.__wrapped__
    return answering(question)(None if document is None else json.loads(document))


def _in_sqlite(
    column: ColumnElement[Any], operator: str | None, keys: Sequence[str], value: Any
) -> ColumnElement[bool]:
    question = to_json([operator, list(keys), value]).decode()
    asked = getattr(func, SQLITE_FUNCTION)(column, literal(question, Text()), type_=Integer())
    condition: ColumnElement[bool] = asked == 1
    return condition


@lru_cache(maxsize=1024)
def _answering(question: str) -> Callable[[Any], bool]:
    name, keys, value = json.loads(question)
    if name is None:
        return lambda document: bool(extract_keys([document], keys))
    test = compile_value_test(OPERATORS[name], value, JSON)
    if not keys:
        return test
    return lambda document: any(map(test, extract_keys([document], keys)))


def _in_postgres(
    document: ColumnElement[Any], operator: Operator, keys: Sequence[str], value: Any
) -> ColumnElement[bool]:
    condition = _JSONB[operator]
    if not keys:
        if comparison.accepts_none(operator, value):
            return or_(document.is_(None), condition(document, value))
        return condition(document, value)
    found = func.jsonb_path_query(document, _jsonpath(keys), type_=JSONB()).column_valued()
    return exists(select(literal(1, Integer())).where(condition(found, value)))


def _jsonpath(keys: Sequence[str]) -> ColumnElement[Any]:
    # Lax mode: of a list, what is under the key of each element.
    path = "$" + "".join(f".{json.dumps(key, ensure_ascii=False)}" for key in keys)
    return literal(path, JSONPATH())


def _jsonb(value: Any) -> ColumnElement[Any]:
    return literal(value, JSONB())


def _plain(document: Any) -> Any:
    """The text of a JSON text."""
    return document.op("#>>", return_type=Text())(literal([], ARRAY(Text())))


def _is_a(document: Any, kind: str) -> ColumnElement[bool]:
    result: ColumnElement[bool] = func.jsonb_typeof(document) == kind
    return result


def _equal(document: Any, value: Any) -> ColumnElement[bool]:
    if value is None:
        return _is_null(document, None)
    result: ColumnElement[bool] = document == _jsonb(value)
    return result


def _ordered(operator: Operator) -> Jsonb:
    def condition(document: Any, value: Any) -> ColumnElement[bool]:
        if isinstance(value, str):
            plain = _plain(document).collate("C")
            return and_(_is_a(document, "string"), comparison.COMPARE[operator](plain, value))
        if not isinstance(value, (int, float)):
            return false()
        kind = "boolean" if isinstance(value, bool) else "number"
        return and_(_is_a(document, kind), comparison.COMPARE[operator](document, _jsonb(value)))

    return condition


def _between(document: Any, value: Any) -> ColumnElement[bool]:
    return and_(_JSONB[GE](document, value[0]), _JSONB[LE](document, value[1]))


def _one_of(document: Any, values: Any) -> ColumnElement[bool]:
    listed = func.jsonb_array_elements(_jsonb(list(values)), type_=JSONB()).column_valued()
    result: ColumnElement[bool] = document.in_(select(listed))
    return result


def _is_null(document: Any, value: None) -> ColumnElement[bool]:
    return _is_a(document, "null")


def _is_empty(document: Any, value: None) -> ColumnElement[bool]:
    return _one_of(document, [None, "", [], {}])


def _text(operator: Operator) -> Jsonb:
    def condition(document: Any, value: Any) -> ColumnElement[bool]:
        matches = text.CONDITIONS[operator](_plain(document), value, JSON)
        return and_(_is_a(document, "string"), matches)

    return condition


def _contains_any(document: Any, values: Any) -> ColumnElement[bool]:
    listed = func.jsonb_array_elements(_jsonb(list(values)), type_=JSONB()).column_valued()
    contained = document.contains(func.jsonb_build_array(listed, type_=JSONB()))
    return exists(select(literal(1, Integer())).where(contained))


def _contains_all(document: Any, values: Any) -> ColumnElement[bool]:
    return and_(_is_a(document, "array"), document.contains(_jsonb(list(values))))


def _has_key(document: Any, key: Any) -> ColumnElement[bool]:
    return and_(_is_a(document, "object"), document.has_key(literal(key, Text())))


def _has_any(document: Any, keys: Any) -> ColumnElement[bool]:
    return and_(_is_a(document, "object"), document.has_any(literal(list(keys), ARRAY(Text()))))


def _has_all(document: Any, keys: Any) -> ColumnElement[bool]:
    return and_(_is_a(document, "object"), document.has_all(literal(list(keys), ARRAY(Text()))))


def _json_contains(document: Any, value: Any) -> ColumnElement[bool]:
    return and_(~_is_a(document, "null"), document.contains(_jsonb(value)))


def _json_contained_by(document: Any, value: Any) -> ColumnElement[bool]:
    return and_(~_is_a(document, "null"), document.contained_by(_jsonb(value)))


def _path_exists(document: Any, keys: Any) -> ColumnElement[bool]:
    result: ColumnElement[bool] = func.jsonb_path_exists(document, _jsonpath(keys))
    return result


_JSONB: dict[Operator, Jsonb] = {
    EQ: _equal,
    **{operator: _ordered(operator) for operator in (LT, LE, GT, GE)},
    BETWEEN: _between,
    IN: _one_of,
    IS_NULL: _is_null,
    IS_EMPTY: _is_empty,
    **{operator: _text(operator) for operator in text.CONDITIONS},
    CONTAINS_ANY: _contains_any,
    CONTAINS_ALL: _contains_all,
    HAS_KEY: _has_key,
    HAS_ANY: _has_any,
    HAS_ALL: _has_all,
    JSON_CONTAINS: _json_contains,
    JSON_CONTAINED_BY: _json_contained_by,
    PATH_EXISTS: _path_exists,
}
