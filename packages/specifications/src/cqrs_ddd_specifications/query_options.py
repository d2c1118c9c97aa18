"""A condition with order and page."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import to_json

from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification

from .exceptions import (
    SpecificationError,
    SpecificationLimitError,
    SpecificationValueError,
    shown,
)
from .factory import AllowedFields, SpecificationFactory, read_json, refuse_field
from .field_types import path_of
from .json_forms import written_form
from .keyset import behind
from .memory.evaluator import reaching
from .operators import Operator
from .specification import (
    AndSpecification,
    Specification,
)

MAX_LIMIT = 1_000
"""Of what a stranger may ask for at once."""
MAX_ORDERING = 8
_LARGEST_OFFSET = 2**63 - 1


@dataclass(frozen=True)
class QueryOptions(IQueryOptions[Any]):
    """What to find, in which order, and which part of it.

    A page is counted by ``offset``, or follows the item whose values of ``ordering`` are
    ``after``; for that the order should end with what is unique, such as ``"id"``.

    Args:
        ordering: attributes, ``-`` before one for descending; None comes after every value.
        select_fields: only these, for read models.
        distinct: rows that are alike count once.
    """

    specification: ISpecification[Any] | None = None
    ordering: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    after: tuple[Any, ...] | None = None
    select_fields: tuple[str, ...] = ()
    distinct: bool = False

    def __post_init__(self) -> None:
        for name in ("ordering", "select_fields"):
            given = getattr(self, name)
            if isinstance(given, str) or not all(isinstance(each, str) and each for each in given):
                raise SpecificationValueError(
                    f"{name} takes names of attributes, got {shown(given)}"
                )
            object.__setattr__(self, name, tuple(given))
        object.__setattr__(self, "select_fields", tuple(dict.fromkeys(self.select_fields)))
        if len(self.ordering) > MAX_ORDERING:
            raise SpecificationLimitError(
                "attributes to order by", MAX_ORDERING, len(self.ordering)
            )
        if self.distinct and self.select_fields:
            others = {name.removeprefix("-") for name in self.ordering} - {*self.select_fields}
            if others:
                raise SpecificationValueError(
                    f"distinct rows can be ordered by what they have, not by {sorted(others)}; "
                    "select it as well"
                )
        for name in ("limit", "offset"):
            _refuse_count(name, getattr(self, name))
        if self.after is not None:
            object.__setattr__(self, "after", tuple(self.after))

    @property
    def condition(self) -> ISpecification[Any] | None:
        """What an item of the page satisfies: ``specification``, and to come behind ``after``.

        Raises ``SpecificationValueError`` where ``after`` does not fit ``ordering``.
        """
        if self.after is None:
            return self.specification
        if not self.ordering or len(self.after) != len(self.ordering):
            raise SpecificationValueError(
                f"after takes a value for each attribute of the order ({len(self.ordering)}), got "
                f"{len(self.after)}; call with_ordering, and with_pagination(after=...)"
            )
        later = behind(self.ordering, self.after)
        return later if self.specification is None else later & self.specification

    def with_specification(self, specification: ISpecification[Any] | None) -> QueryOptions:
        return replace(self, specification=specification)

    def with_ordering(self, *attributes: str) -> QueryOptions:
        """``with_ordering("-created_at", "name")``"""
        return replace(self, ordering=attributes)

    def with_pagination(
        self, limit: int | None = None, offset: int = 0, *, after: tuple[Any, ...] | None = None
    ) -> QueryOptions:
        """``after`` has the values of the last item that was seen, as ``next_page`` takes them."""
        return replace(self, limit=limit, offset=offset, after=after)

    def with_select_fields(self, *attributes: str) -> QueryOptions:
        return replace(self, select_fields=attributes)

    def with_distinct(self, distinct: bool = True) -> QueryOptions:
        return replace(self, distinct=distinct)

    def next_page(self, last_item: Any) -> QueryOptions:
        """The options for what follows the last item of a page."""
        owner: type = type(last_item)
        paths = [path_of(owner, name.removeprefix("-")) for name in self.ordering]
        return replace(self, offset=0, after=tuple(reaching(path)(last_item)[0] for path in paths))

    def merge(self, other: QueryOptions) -> QueryOptions:
        """Both conditions; of everything else what ``other`` says, where it says something."""
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

    def to_dict(self) -> dict[str, Any]:
        """What ``from_dict`` reads; what is at its default is left out."""
        where = self.specification
        if where is not None and not isinstance(where, Specification):
            raise SpecificationError(
                f"{where!r} is not made of attributes and cannot be written down"
            )
        parts: dict[str, Any] = {
            "where": None if where is None else SpecificationFactory.to_dict(where),
            "order_by": list(self.ordering),
            "limit": self.limit,
            "offset": self.offset,
            "after": None if self.after is None else written_form(self.after),
            "select": list(self.select_fields),
            "distinct": self.distinct,
        }
        return {
            key: value
            for key, value in parts.items()
            if value is not None
            and value != []
            and value is not False
            and (key, value) != ("offset", 0)
        }

    def to_json(self) -> str:
        return to_json(self.to_dict()).decode()

    @classmethod
    def from_json(
        cls,
        text: str | bytes,
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[Operator] = (),
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
        data: Any,
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[Operator] = (),
        max_limit: int = MAX_LIMIT,
    ) -> QueryOptions:
        """Safe on what a stranger sent; without a limit of his own he gets ``max_limit``."""
        if not isinstance(data, Mapping) or not data.keys() <= _KEYS:
            raise SpecificationError(
                f"options of a query have the keys {', '.join(sorted(_KEYS))}, got "
                f"{shown(list(data) if isinstance(data, Mapping) else data)}"
            )
        order, fields, after = (data.get(key) for key in ("order_by", "select", "after"))
        for key, given in (("order_by", order), ("select", fields), ("after", after)):
            if not isinstance(given, (list, type(None))):
                raise SpecificationValueError(f"{key} takes a list, got {shown(given)}")
        distinct = data.get("distinct", False)
        if not isinstance(distinct, bool):
            raise SpecificationValueError(f"distinct takes true or false, got {shown(distinct)}")
        for name in (*(order or ()), *(fields or ())):
            refuse_field(name.removeprefix("-") if isinstance(name, str) else name, allowed_fields)
        limit = data.get("limit", max_limit)
        _refuse_count("limit", limit)
        if limit is None or limit > max_limit:
            raise SpecificationLimitError(
                "a limit", max_limit, _LARGEST_OFFSET if limit is None else limit
            )
        where = data.get("where")
        read = SpecificationFactory.from_dict
        return cls(
            None
            if where is None
            else read(where, allowed_fields=allowed_fields, operators=operators),
            tuple(order or ()),
            limit,
            data.get("offset", 0),
            None if after is None else tuple(after),
            tuple(fields or ()),
            distinct,
        )


_KEYS = {"where", "order_by", "limit", "offset", "after", "select", "distinct"}


def _refuse_count(name: str, count: Any) -> None:
    if count is None and name == "limit":
        return
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _LARGEST_OFFSET:
        raise SpecificationValueError(f"{name} is a number from 0 on, got {shown(count)}")
