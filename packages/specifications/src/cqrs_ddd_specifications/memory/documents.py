"""Checks of lists and JSON: emptiness, elements, keys, containment and paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from .. import operators as op
from ..field_types import FieldType, Kind
from ..json_values import to_field_json
from .comparison import Check, CheckMaker, equal

_LISTS = (list, tuple, set, frozenset)


def extract_key(values: Iterable[object], key: str) -> list[object]:
    """Return the values under the key, in each value itself or in each element of a list."""
    return [
        each[key]
        for value in values
        for each in (value if isinstance(value, (list, tuple)) else (value,))
        if isinstance(each, Mapping) and key in each
    ]


def extract_keys(values: list[object], keys: Iterable[str]) -> list[object]:
    """Follow a path of keys from each value and return the values at its end."""
    for key in keys:
        values = extract_key(values, key)
    return values


def _check_empty(value: None, field_type: FieldType) -> Check:
    if field_type.kind is Kind.TEXT:
        return Check("not {x}")
    return Check.call(
        lambda actual: (
            actual is None or (isinstance(actual, (str, Mapping, *_LISTS)) and not len(actual))
        )
    )


def _make_element_check(enough: Callable[[Iterable[bool]], bool]) -> CheckMaker:
    def check(values: Sequence[object], field_type: FieldType) -> Check:
        return Check.call(
            lambda actual: (
                isinstance(actual, _LISTS)
                and enough(any(equal(each, value) for each in actual) for value in values)
            )
        )

    return check


def _make_key_check(enough: Callable[[Iterable[bool]], bool]) -> CheckMaker:
    def check(keys: str | Sequence[str], field_type: FieldType) -> Check:
        wanted = [keys] if isinstance(keys, str) else keys
        return Check.call(
            lambda actual: isinstance(actual, Mapping) and enough(key in actual for key in wanted)
        )

    return check


def _check_contains(value: object, field_type: FieldType) -> Check:
    return Check.call_unless_none(lambda actual: contains(to_field_json(actual), value))


def _check_contained_by(value: object, field_type: FieldType) -> Check:
    return Check.call_unless_none(lambda actual: contains(value, to_field_json(actual)))


def _check_path(keys: Sequence[str], field_type: FieldType) -> Check:
    return Check.call(lambda actual: bool(extract_keys([actual], keys)))


def contains(whole: object, part: object, *, is_nested: bool = False) -> bool:
    """Return whether one JSON value contains another, as PostgreSQL defines it for jsonb.

    Source: https://www.postgresql.org/docs/current/datatype-json.html#JSON-CONTAINMENT
    """
    if isinstance(whole, Mapping) and isinstance(part, Mapping):
        return all(key in whole and contains(whole[key], part[key], is_nested=True) for key in part)
    if isinstance(whole, list) and isinstance(part, list):
        return all(
            any(contains(element, each, is_nested=True) for element in whole) for each in part
        )
    if isinstance(whole, list) and not isinstance(part, Mapping):
        return not is_nested and any(equal(element, part) for element in whole)
    return equal(whole, part)


CHECKS: Mapping[op.Operator, CheckMaker] = {
    op.IS_EMPTY: _check_empty,
    op.CONTAINS_ANY: _make_element_check(any),
    op.CONTAINS_ALL: _make_element_check(all),
    op.HAS_KEY: _make_key_check(all),
    op.HAS_ANY: _make_key_check(any),
    op.HAS_ALL: _make_key_check(all),
    op.JSON_CONTAINS: _check_contains,
    op.JSON_CONTAINED_BY: _check_contained_by,
    op.PATH_EXISTS: _check_path,
}
