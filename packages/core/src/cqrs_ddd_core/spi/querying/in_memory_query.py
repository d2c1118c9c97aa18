"""What a search picks from rows in memory, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ...domain.specification import ICompiledSpecification, IQueryOptions, ISpecification
from ...primitives.exceptions import ValidationError

R = TypeVar("R")


def predicate_over(
    candidates: type[Any], condition: ISpecification[Any] | None
) -> Callable[[Any], bool]:
    """The condition as a function, compiled once where it can be."""
    if condition is None:
        return lambda _: True
    if isinstance(condition, ICompiledSpecification):
        return condition.predicate_for(candidates)
    return condition.is_satisfied_by


def page_of(
    rows: Iterable[R],
    options: IQueryOptions[Any],
    *,
    key: Callable[[R], Any],
    value_at: Callable[[R, str], Any],
) -> list[R]:
    """Order and page of the options; ``key`` puts equals, and pages without an order, in place.

    Raises ``ValidationError`` where values of unlike kinds have no order.
    """
    found = list(rows)
    if options.ordering or options.limit is not None or options.offset:
        # As in a table: equals in no order at all could be on two pages, or on none.
        found.sort(key=key)
    # Stable sorts from the least to the most significant attribute.
    for name in reversed(options.ordering):
        path = name.removeprefix("-")

        def order(row: R, path: str = path) -> tuple[bool, Any]:
            value = value_at(row, path)
            return (value is None, value)

        try:
            found.sort(key=order, reverse=name.startswith("-"))
        except TypeError as error:
            raise ValidationError.not_orderable(
                path, f"cannot order by {name}, which has values of unlike types"
            ) from error
    end = None if options.limit is None else options.offset + options.limit
    return found[options.offset : end]
