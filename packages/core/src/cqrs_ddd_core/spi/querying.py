"""Searches in memory: specifications of adapters, predicates, and orders by attribute names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel

from ..domain import ICompiledSpecification, IQueryOptions, ISpecification
from ..primitives.exceptions import ValidationError

R = TypeVar("R")

Predicate = Callable[[Any], bool]

_WITHOUT_ORDER: Mapping[type, str] = {
    Enum: "an enum",
    BaseModel: "an object of several values",
    Mapping: "a dict",
    Collection: "a collection",
}


@dataclass(frozen=True)
class OneOf(ISpecification):
    """Specification that an attribute has one of the values.

    Attributes:
        attribute: name of the attribute.
        values: accepted values.
    """

    attribute: str
    values: tuple[object, ...]

    def is_satisfied_by(self, candidate: object) -> bool:
        """Return whether the attribute of the candidate has one of the values."""
        return getattr(candidate, self.attribute) in self.values


@dataclass(frozen=True)
class AllOf(ICompiledSpecification):
    """Specification that every part is satisfied.

    Attributes:
        parts: specifications that an object has to satisfy.
    """

    parts: tuple[ISpecification, ...]

    def is_satisfied_by(self, candidate: object) -> bool:
        """Return whether the candidate satisfies every part."""
        return all(part.is_satisfied_by(candidate) for part in self.parts)

    def predicate_for(self, candidates: type) -> Predicate:
        """Return the parts as one function for objects of the class."""
        predicates = [build_predicate(candidates, part) for part in self.parts]
        return lambda candidate: all(holds(candidate) for holds in predicates)


def build_predicate(candidates: type, condition: ISpecification | None) -> Predicate:
    """Return the specification as a function, compiled once if this is possible."""
    if condition is None:
        return lambda _: True
    if isinstance(condition, ICompiledSpecification):
        return condition.predicate_for(candidates)
    return condition.is_satisfied_by


def get_specification(criteria: ISpecification | IQueryOptions) -> ISpecification | None:
    """Return the condition of a search without its page, or None if it finds everything."""
    return criteria.specification if isinstance(criteria, IQueryOptions) else criteria


def ensure_orderable(model: type[BaseModel], path: str) -> None:
    """Raise ``ValidationError`` unless the class has the attribute, and its values an order."""
    found = _describe_unordered(_find_annotation(model, path))
    if found is not None:
        raise ValidationError.not_orderable(
            path,
            f"{model.__name__} cannot be ordered by {path!r}: {found} has no order; order by a "
            "text, a number or a time",
        )


def read_attribute(candidate: object, path: str) -> object:
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
    read: Callable[[R, str], object],
) -> list[R]:
    """Sort the rows and return the page that the options select.

    Args:
        rows: rows that satisfy the specification.
        options: order and page.
        key: returns a key that orders equal rows, and rows without an order.
        read: returns an attribute of a row by its path.

    Raises:
        ValidationError: the values of an attribute have types that cannot be compared.
    """
    found = list(rows)
    if options.ordering or options.limit is not None or options.offset:
        # Equal rows need an order, too, or a row could be on two pages or on no page.
        found.sort(key=key)
    # Sorts are stable, so the least significant attribute comes first.
    for name in reversed(options.ordering):
        _sort(found, name, read)
    end = None if options.limit is None else options.offset + options.limit
    return found[options.offset : end]


def _sort(rows: list[R], name: str, read: Callable[[R, str], Any]) -> None:
    path = name.removeprefix("-")

    def key(row: R) -> tuple[bool, Any]:
        value = read(row, path)
        if isinstance(value, datetime) and value.tzinfo is not None:
            # Python compares two times of one zone by wall clock, also in the hour that a change
            # from summer time repeats.
            value = value.astimezone(timezone.utc)
        return value is None, value

    try:
        rows.sort(key=key, reverse=name.startswith("-"))
    except TypeError as error:
        raise ValidationError.not_orderable(
            path, f"cannot order by {name}, which has values of different types"
        ) from error


def _find_annotation(model: type[BaseModel], path: str) -> object:
    annotation: object = model
    for name in path.split("."):
        owner = _find_owner(annotation)
        if owner is None or (issubclass(owner, BaseModel) and name not in owner.model_fields):
            known = owner.model_fields if owner is not None else ()
            raise ValidationError(
                f"{model.__name__} has no attribute {path!r} to order by; "
                f"known attributes: {', '.join(known) or 'none'}",
                errors={path: ("is not an attribute",)},
            )
        annotation = owner.model_fields[name].annotation if issubclass(owner, BaseModel) else Any
    return annotation


def _find_owner(annotation: object) -> type | None:
    """Find the model or the dict in an annotation, which may be optional."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (BaseModel, Mapping)):
        return kind
    if kind in (list, tuple, set, frozenset):
        return None
    return next(filter(None, map(_find_owner, get_args(annotation))), None)


def _describe_unordered(annotation: object) -> str | None:
    """Describe the part of an annotation that cannot be sorted, or return None."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type):
        for unordered, description in _WITHOUT_ORDER.items():
            if issubclass(kind, unordered) and not (
                unordered is Collection and issubclass(kind, (str, bytes))
            ):
                return description
    return next(filter(None, map(_describe_unordered, get_args(annotation))), None)
