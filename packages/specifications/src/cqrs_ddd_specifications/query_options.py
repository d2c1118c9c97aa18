"""A specification with an order and a page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import to_json

from cqrs_ddd_core.domain.specification import IQueryOptions

from . import exceptions as errors
from . import operators as op
from .factory import AllowedFields, SpecificationFactory, ensure_allowed, read_json
from .json_values import to_stored_json
from .memory.evaluator import read_attributes
from .specification import AndSpecification, AttributeSpecification, OrSpecification, Specification
from .visitor import AnySpecification

MAX_LIMIT = 1_000
"""Items that untrusted input may request at once."""
MAX_ORDERING = 8

_MAX_COUNT = 2**63 - 1


@dataclass(frozen=True)
class QueryOptions(IQueryOptions[Any]):
    """Items to find, their order, and the part of them to return.

    A page is counted by ``offset``, or follows the item whose values of ``ordering`` are
    ``after``; in that case the order should end with a unique attribute, such as ``"id"``.

    Args:
        specification: that the items satisfy.
        ordering: attributes, ``-`` before one for descending; None comes after every value.
        limit: the number of items at most.
        offset: the number of items to skip.
        after: values of ``ordering`` of the item before the page.
        select_fields: to return alone, for read models.
        distinct: whether equal rows count once.
    """

    specification: AnySpecification | None = None
    ordering: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    after: tuple[object, ...] | None = None
    select_fields: tuple[str, ...] = ()
    distinct: bool = False

    def __post_init__(self) -> None:
        _ensure_names("ordering", self.ordering)
        _ensure_names("select_fields", self.select_fields)
        selected = tuple(dict.fromkeys(self.select_fields))
        after = None if self.after is None else tuple(self.after)
        self.__dict__.update(ordering=tuple(self.ordering), select_fields=selected, after=after)
        errors.ensure_limit("attributes to order by", MAX_ORDERING, len(self.ordering))
        others = {name.removeprefix("-") for name in self.ordering} - {*selected}
        if self.distinct and selected and others:
            raise errors.SpecificationValueError(
                f"distinct rows can be ordered by selected fields only, not by {sorted(others)}; "
                "select these as well"
            )
        if self.limit is not None:
            _ensure_count("limit", self.limit)
        _ensure_count("offset", self.offset)

    @property
    def condition(self) -> AnySpecification | None:
        """Condition for an item of the page: ``specification``, and a place behind ``after``.

        Raises ``SpecificationValueError`` if ``after`` does not fit ``ordering``.
        """
        if self.after is None:
            return self.specification
        if not self.ordering or len(self.after) != len(self.ordering):
            raise errors.SpecificationValueError(
                f"after takes a value for each attribute of the order ({len(self.ordering)}), got "
                f"{len(self.after)}; call with_ordering, and with_pagination(after=...)"
            )
        later = after_row(self.ordering, self.after)
        return later if self.specification is None else later & self.specification

    def with_specification(self, specification: AnySpecification | None) -> QueryOptions:
        return replace(self, specification=specification)

    def with_ordering(self, *attributes: str) -> QueryOptions:
        """Replace the order: ``with_ordering("-created_at", "name")``."""
        return replace(self, ordering=attributes)

    def with_pagination(
        self, limit: int | None = None, offset: int = 0, *, after: tuple[object, ...] | None = None
    ) -> QueryOptions:
        """Replace the page; ``after`` has the values of the last item seen."""
        return replace(self, limit=limit, offset=offset, after=after)

    def with_select_fields(self, *attributes: str) -> QueryOptions:
        return replace(self, select_fields=attributes)

    def with_distinct(self, distinct: bool = True) -> QueryOptions:
        return replace(self, distinct=distinct)

    def next_page(self, last_item: object) -> QueryOptions:
        """Return the options for the page that follows the last item of this one."""
        after = read_attributes(last_item, [name.removeprefix("-") for name in self.ordering])
        return replace(self, offset=0, after=after)

    def merge(self, other: QueryOptions) -> QueryOptions:
        """Join both conditions; everything else that ``other`` sets replaces the value here."""
        conditions = [
            each for each in (self.specification, other.specification) if each is not None
        ]
        return QueryOptions(
            AndSpecification(conditions) if len(conditions) > 1 else next(iter(conditions), None),
            other.ordering or self.ordering,
            self.limit if other.limit is None else other.limit,
            other.offset or self.offset,
            self.after if other.after is None else other.after,
            other.select_fields or self.select_fields,
            self.distinct or other.distinct,
        )

    def to_dict(self) -> dict[str, object]:
        """Return a dict for ``from_dict``, without values that equal their defaults."""
        where = self.specification
        if where is not None and not isinstance(where, Specification):
            raise errors.SpecificationError(
                f"{where!r} is not made of attributes and cannot be written as JSON"
            )
        parts: dict[str, object] = {
            "where": None if where is None else SpecificationFactory.to_dict(where),
            "order_by": list(self.ordering) or None,
            "limit": self.limit,
            "offset": self.offset or None,
            "after": None if self.after is None else to_stored_json(self.after),
            "select": list(self.select_fields) or None,
            "distinct": self.distinct or None,
        }
        return {key: value for key, value in parts.items() if value is not None}

    def to_json(self) -> str:
        return to_json(self.to_dict()).decode()

    @classmethod
    def from_json(
        cls,
        text: str | bytes,
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[op.Operator] = (),
        max_limit: int = MAX_LIMIT,
    ) -> QueryOptions:
        return cls.from_dict(
            read_json(text),
            allowed_fields=allowed_fields,
            operators=operators,
            max_limit=max_limit,
        )

    @classmethod
    def from_dict(
        cls,
        data: object,
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[op.Operator] = (),
        max_limit: int = MAX_LIMIT,
    ) -> QueryOptions:
        """Read options from untrusted input; without a limit they get ``max_limit``.

        ``allowed_fields`` and ``operators`` are those of ``SpecificationFactory.from_dict``.
        Raises ``SpecificationError``.
        """
        if not isinstance(data, Mapping) or not data.keys() <= _KEYS:
            given = errors.shorten(list(data) if isinstance(data, Mapping) else data)
            raise errors.SpecificationError(
                f"options of a query have the keys {', '.join(sorted(_KEYS))}, got {given}"
            )
        order, fields = (_read_names(data, key, allowed_fields) for key in ("order_by", "select"))
        distinct = data.get("distinct", False)
        if not isinstance(distinct, bool):
            raise errors.SpecificationValueError.unexpected("distinct", "true or false", distinct)
        where = data.get("where")
        if where is not None:
            where = SpecificationFactory.from_dict(
                where, allowed_fields=allowed_fields, operators=operators
            )
        page = _read_limit(data, max_limit), data.get("offset", 0), _read_list(data, "after")
        return cls(where, order, *page, fields, distinct)


_KEYS = {"where", "order_by", "limit", "offset", "after", "select", "distinct"}


def _read_list(data: Mapping[str, Any], key: str) -> tuple[Any, ...] | None:
    given = data.get(key)
    if given is None:
        return None
    if not isinstance(given, list):
        raise errors.SpecificationValueError.unexpected(key, "a list", given)
    return tuple(given)


def _read_names(
    data: Mapping[str, Any], key: str, allowed: AllowedFields | None
) -> tuple[Any, ...]:
    names = _read_list(data, key) or ()
    for name in names:
        ensure_allowed(name.removeprefix("-") if isinstance(name, str) else name, allowed)
    return names


def _read_limit(data: Mapping[str, Any], max_limit: int) -> int:
    limit = data.get("limit", max_limit)
    if limit is None:
        raise errors.SpecificationLimitError("a limit", max_limit, _MAX_COUNT)
    _ensure_count("limit", limit)
    errors.ensure_limit("a limit", max_limit, limit)
    return int(limit)


def _ensure_names(name: str, given: object) -> None:
    if (
        isinstance(given, str)
        or not isinstance(given, Iterable)
        or not all(isinstance(each, str) and each for each in given)
    ):
        raise errors.SpecificationValueError.unexpected(name, "names of attributes", given)


def _ensure_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MAX_COUNT:
        raise errors.SpecificationValueError.unexpected(name, "a number from 0 on", count)


def after_row(ordering: tuple[str, ...], values: tuple[object, ...]) -> Specification:
    """Return the condition for rows behind the one with these values of the order."""
    alternatives: list[Specification] = []
    equal: list[Specification] = []
    for name, value in zip(ordering, values, strict=True):
        attribute = name.removeprefix("-")
        is_later = _is_later(attribute, value, is_descending=name.startswith("-"))
        alternatives.append(AndSpecification([*equal, is_later]))
        equal.append(AttributeSpecification(attribute, op.EQ, value))
    return OrSpecification(alternatives)


def _is_later(attribute: str, value: object, *, is_descending: bool) -> Specification:
    # None comes after every value, so it is last in ascending and first in descending order.
    if is_descending:
        return AttributeSpecification(attribute, op.IS_NOT_NULL if value is None else op.LT, value)
    if value is None:
        return OrSpecification()
    is_null = AttributeSpecification(attribute, op.IS_NULL)
    return AttributeSpecification(attribute, op.GT, value) | is_null
