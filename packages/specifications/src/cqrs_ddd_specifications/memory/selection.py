"""Options of a query over objects in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from cqrs_ddd_core.domain.specification import IQueryOptions

from ..exceptions import SpecificationValueError, UnsupportedOperatorError
from ..field_types import Kind, path_of
from ..query_options import QueryOptions
from .comparison import instant
from .evaluator import reaching

T = TypeVar("T")

_WITHOUT_ORDER = (Kind.ENUM, Kind.ARRAY, Kind.JSON)


def select(items: Iterable[T], options: IQueryOptions[T]) -> list[Any]:
    """The items of the page, or dicts of ``select_fields``; ``items`` are of one class."""
    refuse_distinct_rows(options)
    condition = options.condition
    found = [item for item in items if condition is None or condition.is_satisfied_by(item)]
    if not found:
        return []
    kind = type(found[0])
    for name in reversed(options.ordering):
        # Stable, from the least to the most significant attribute.
        try:
            found.sort(key=_sort_key(kind, name.removeprefix("-")), reverse=name.startswith("-"))
        except TypeError as error:
            raise UnsupportedOperatorError(
                f"cannot order by {name}, which has values of unlike kinds"
            ) from error
    rows: Sequence[Any] = found
    if isinstance(options, QueryOptions):
        if options.select_fields:
            rows = [_selected(item, options.select_fields) for item in found]
        if options.distinct:
            rows = _each_once(rows)
    end = None if options.limit is None else options.offset + options.limit
    return list(rows[options.offset : end])


def refuse_distinct_rows(options: IQueryOptions[Any]) -> None:
    """Raises ``SpecificationValueError`` for ``distinct`` without ``select_fields``."""
    if isinstance(options, QueryOptions) and options.distinct and not options.select_fields:
        raise SpecificationValueError(
            "distinct is for selected fields, since whole rows differ by their keys; call "
            "with_select_fields"
        )


def refuse_order(attribute: str, kind: Kind, *, is_single: bool) -> None:
    """Raises ``UnsupportedOperatorError`` for what no two worlds would order alike."""
    if kind in _WITHOUT_ORDER or not is_single:
        raise UnsupportedOperatorError(
            f"cannot order by {attribute}, which is {kind.value if is_single else 'several values'}"
        )


def _sort_key(owner: type, attribute: str) -> Callable[[Any], Any]:
    path = path_of(owner, attribute)
    is_single = not any(step.is_many for step in path.steps)
    refuse_order(attribute, path.type.kind, is_single=is_single)
    reach = reaching(path)

    def key(item: Any) -> tuple[bool, Any]:
        value = reach(item)[0]
        if isinstance(value, datetime):
            return False, instant(value)
        return value is None, 0 if value is None else value

    return key


def _each_once(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    seen: set[tuple[Any, ...]] = set()
    found: list[dict[str, Any]] = []
    for row in rows:
        values = tuple(row.values())
        try:
            is_new = values not in seen
            seen.add(values)
        except TypeError:  # Lists and dicts.
            is_new = row not in found
        if is_new:
            found.append(row)
    return found


def _selected(item: Any, attributes: Sequence[str]) -> dict[str, Any]:
    owner: type = type(item)
    return {name: reaching(path_of(owner, name))(item)[0] for name in attributes}
