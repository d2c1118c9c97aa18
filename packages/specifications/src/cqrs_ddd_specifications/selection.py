"""Evaluation of query options over objects in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from cqrs_ddd_core.domain import AggregateRoot, IQueryOptions

from .exceptions import SpecificationValueError, UnsupportedOperatorError
from .field_types import Kind, path_of
from .memory.comparison import to_utc
from .memory.evaluator import extract_values, read_attributes
from .query_options import QueryOptions

T = TypeVar("T")

_WITHOUT_ORDER = (Kind.ENUM, Kind.ARRAY, Kind.JSON)


def select(items: Iterable[T], options: IQueryOptions[T]) -> list[Any]:
    """Return the items of the page, or dicts of ``select_fields``, as a database would.

    Args:
        items: objects of one class.
        options: the condition, the order and the page.

    Raises:
        SpecificationError: the class of the items does not support the options.
    """
    ensure_distinct_selects(options)
    condition = options.condition
    found = [item for item in items if condition is None or condition.is_satisfied_by(item)]
    if not found:
        return []
    kind = type(found[0])
    is_page = options.ordering or options.limit is not None or options.offset
    if is_page and issubclass(kind, AggregateRoot):
        found.sort(key=_make_sort_key(kind, "id"))
    for name in reversed(options.ordering):
        # Sorting is stable, so the most significant attribute is sorted by last.
        try:
            found.sort(key=_make_sort_key(kind, name), reverse=name.startswith("-"))
        except TypeError as error:
            raise UnsupportedOperatorError(
                f"cannot order by {name}, which has values of different types"
            ) from error
    rows: Sequence[object] = found
    if isinstance(options, QueryOptions) and options.select_fields:
        names = options.select_fields
        selected = [dict(zip(names, read_attributes(each, names), strict=True)) for each in found]
        rows = _drop_duplicates(selected) if options.distinct else selected
    end = None if options.limit is None else options.offset + options.limit
    return list(rows[options.offset : end])


def ensure_distinct_selects(options: IQueryOptions[T]) -> None:
    """Raise ``SpecificationValueError`` if ``distinct`` is set without ``select_fields``."""
    if isinstance(options, QueryOptions) and options.distinct and not options.select_fields:
        raise SpecificationValueError(
            "distinct requires selected fields, since whole rows differ by their keys; call "
            "with_select_fields(...)"
        )


def ensure_ordered(attribute: str, kind: Kind, *, is_single: bool) -> None:
    """Raise ``UnsupportedOperatorError`` for an attribute that backends would order differently."""
    if kind in _WITHOUT_ORDER or not is_single:
        raise UnsupportedOperatorError(
            f"cannot order by {attribute}, which is {kind.value if is_single else 'several values'}"
        )


def _make_sort_key(owner: type, name: str) -> Callable[[object], tuple[bool, Any]]:
    attribute = name.removeprefix("-")
    path = path_of(owner, attribute)
    is_single = not any(step.is_many for step in path.steps)
    ensure_ordered(attribute, path.type.kind, is_single=is_single)
    extract = extract_values(path)

    def sort_key(item: object) -> tuple[bool, object]:
        value = extract(item)[0]
        if isinstance(value, datetime):
            return False, to_utc(value)
        return value is None, 0 if value is None else value

    return sort_key


def _drop_duplicates(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    seen: set[tuple[object, ...]] = set()
    found: list[dict[str, object]] = []
    for row in rows:
        values = tuple(row.values())
        try:
            is_new = values not in seen
            seen.add(values)
        except TypeError:  # Lists and dicts cannot be hashed.
            is_new = row not in found
        if is_new:
            found.append(row)
    return found
