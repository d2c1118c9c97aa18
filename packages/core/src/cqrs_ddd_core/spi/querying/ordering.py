"""Ordering of objects in memory by dotted attribute names, such as ``price.amount``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel

from ...domain.specification import IQueryOptions
from ...primitives.exceptions import ValidationError

R = TypeVar("R")

_WITHOUT_ORDER: Mapping[type, str] = {
    Enum: "an enum",
    BaseModel: "an object of several values",
    Mapping: "a dict",
    Collection: "a collection",
}


def ensure_orderable(model: type[BaseModel], path: str) -> None:
    """Raise ``ValidationError`` unless the class declares such an attribute, with an order."""
    found = _without_order(_annotation_at(model, path))
    if found is not None:
        raise ValidationError.not_orderable(
            path,
            f"{model.__name__} cannot be ordered by {path!r}: {found} has no order; order by a "
            "text, a number or a time",
        )


def value_at(candidate: object, path: str) -> Any:
    """Read a dotted attribute; return None if a part of the path is None or missing."""
    value = candidate
    for name in path.split("."):
        held = value.__dict__ if isinstance(value, BaseModel) else value
        value = held.get(name) if isinstance(held, Mapping) else None
    return value


def select_page(
    rows: Iterable[R],
    options: IQueryOptions,
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


def _annotation_at(model: type[BaseModel], path: str) -> Any:
    annotation: Any = model
    for name in path.split("."):
        owner = _owner_in(annotation)
        if owner is None or (issubclass(owner, BaseModel) and name not in owner.model_fields):
            known = owner.model_fields if owner is not None else ()
            raise ValidationError(
                f"{model.__name__} has no attribute {path!r} to order by; "
                f"known here: {', '.join(known) or 'none'}",
                errors={path: ("is not an attribute",)},
            )
        annotation = owner.model_fields[name].annotation if issubclass(owner, BaseModel) else Any
    return annotation


def _owner_in(annotation: Any) -> type | None:
    """Find the model or the dict in an annotation, which may be optional."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (BaseModel, Mapping)):
        return kind
    if kind in (list, tuple, set, frozenset):
        return None
    return next(filter(None, map(_owner_in, get_args(annotation))), None)


def _without_order(annotation: Any) -> str | None:
    """Describe the part of an annotation that cannot be sorted, or return None."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type):
        for unordered, what in _WITHOUT_ORDER.items():
            if issubclass(kind, unordered) and not (
                unordered is Collection and issubclass(kind, (str, bytes))
            ):
                return what
    return next(filter(None, map(_without_order, get_args(annotation))), None)
