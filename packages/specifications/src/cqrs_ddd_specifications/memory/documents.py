"""What is asked of lists and JSON: emptiness, elements, keys, containment, paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..field_types import FieldType, Kind
from ..json_forms import stored_form
from ..operators import (
    CONTAINS_ALL,
    CONTAINS_ANY,
    HAS_ALL,
    HAS_ANY,
    HAS_KEY,
    IS_EMPTY,
    JSON_CONTAINED_BY,
    JSON_CONTAINS,
    PATH_EXISTS,
    Operator,
)
from .check import Check, calling, calling_unless_none
from .comparison import same

_LISTS = (list, tuple, set, frozenset)


def under_key(values: Iterable[Any], key: str) -> list[Any]:
    """What is under a key of each value; of a list, under that of each element."""
    return [
        each[key]
        for value in values
        for each in (value if isinstance(value, (list, tuple)) else (value,))
        if isinstance(each, Mapping) and key in each
    ]


def _is_empty(value: None, field_type: FieldType) -> Check:
    if field_type.kind is Kind.TEXT:
        return Check("not {x}")
    return calling(
        lambda actual: (
            actual is None or (isinstance(actual, (str, Mapping, *_LISTS)) and not len(actual))
        )
    )


def _holding(enough: Callable[[Iterable[bool]], bool]) -> Callable[[Any, FieldType], Check]:
    def check(values: tuple[Any, ...], field_type: FieldType) -> Check:
        def holds(actual: Any) -> bool:
            return isinstance(actual, _LISTS) and enough(
                any(same(element, value) for element in actual) for value in values
            )

        return calling(holds)

    return check


def _with_keys(
    enough: Callable[[Iterable[bool]], bool],
) -> Callable[[Sequence[str], FieldType], Check]:
    def check(keys: Sequence[str], field_type: FieldType) -> Check:
        return calling(
            lambda actual: isinstance(actual, Mapping) and enough(key in actual for key in keys)
        )

    return check


def _with_key(key: str, field_type: FieldType) -> Check:
    return calling(lambda actual: isinstance(actual, Mapping) and key in actual)


def _containing(value: Any, field_type: FieldType) -> Check:
    return calling_unless_none(lambda actual: contains(stored_form(actual), value))


def _contained(value: Any, field_type: FieldType) -> Check:
    return calling_unless_none(lambda actual: contains(value, stored_form(actual)))


def _reaching(keys: Sequence[str], field_type: FieldType) -> Check:
    def reaches(actual: Any) -> bool:
        values = [actual]
        for key in keys:
            values = under_key(values, key)
        return bool(values)

    return calling(reaches)


def contains(whole: Any, part: Any, *, is_nested: bool = False) -> bool:
    """Containment of JSON, as PostgreSQL defines it for jsonb.

    Source: https://www.postgresql.org/docs/current/datatype-json.html#JSON-CONTAINMENT
    """
    if isinstance(whole, Mapping) and isinstance(part, Mapping):
        return all(key in whole and contains(whole[key], part[key], is_nested=True) for key in part)
    if isinstance(whole, list) and isinstance(part, list):
        return all(
            any(contains(element, each, is_nested=True) for element in whole) for each in part
        )
    if isinstance(whole, list) and not isinstance(part, Mapping):
        return not is_nested and any(same(element, part) for element in whole)
    return same(whole, part)


CHECKS: dict[Operator, Callable[[Any, FieldType], Check]] = {
    IS_EMPTY: _is_empty,
    CONTAINS_ANY: _holding(any),
    CONTAINS_ALL: _holding(all),
    HAS_KEY: _with_key,
    HAS_ANY: _with_keys(any),
    HAS_ALL: _with_keys(all),
    JSON_CONTAINS: _containing,
    JSON_CONTAINED_BY: _contained,
    PATH_EXISTS: _reaching,
}
