"""Query options: a specification, an order and a page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic_core import CoreSchema, to_json

from cqrs_ddd_core.domain import AggregateRoot, IQueryOptions, ISpecification
from cqrs_ddd_core.domain.specification import T_contra

from . import exceptions as errors
from . import operators as op
from . import pydantic_schema as schemas
from .cursor import decode_cursor, encode_cursor
from .factory import SpecificationFactory
from .json_form import AllowedFields, ensure_allowed, read_json
from .json_values import to_stored_json
from .keyset import KEY, after_row, complete_order, read_position
from .specification import AndSpecification, Specification

MAX_LIMIT = 1_000
"""Items of a page that untrusted input may request."""
MAX_ORDERING = 8

_MAX_COUNT = 2**63 - 1


@dataclass(frozen=True)
class QueryOptions(IQueryOptions[T_contra]):
    """Specification of the items to find, their order, and the page to return.

    A page starts at ``offset``, or after the last item of the page before, which ``after``
    describes; ``next_page`` and ``with_cursor`` set it. If ``after`` is set by hand, the order must
    include an attribute with unique values, such as ``"id"``.

    Args:
        specification: the condition; None finds all items.
        ordering: attributes, with the prefix ``-`` for descending; None comes after every value.
        limit: the largest number of items; None for all.
        offset: the number of items to skip.
        after: the values of ``ordering`` of the last item of the page before.
        select_fields: attributes to return as dicts instead of whole items, for read models.
        distinct: True to return equal dicts of ``select_fields`` once.

    Raises:
        SpecificationError: an option is malformed, or ``ordering`` has too many attributes.

    Example:
        ```python
        from cqrs_ddd_specifications import QueryOptions, field

        options = QueryOptions(field("total") > 100, ordering=("-total", "id"), limit=20)
        ```
    """

    specification: ISpecification[T_contra] | None = None
    ordering: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    after: tuple[object, ...] | None = None
    select_fields: tuple[str, ...] = ()
    distinct: bool = False

    if not TYPE_CHECKING:

        def __class_getitem__(cls, candidate: object) -> type[QueryOptions]:
            """Return the class; pydantic finds no schema of ``QueryOptions[Order]``."""
            return cls

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
                "select these fields, too"
            )
        if self.limit is not None:
            _ensure_count("limit", self.limit)
        _ensure_count("offset", self.offset)

    @property
    def condition(self) -> ISpecification[T_contra] | None:
        """Condition for an item of the page: ``specification``, and a position after ``after``.

        Raises:
            SpecificationValueError: ``after`` does not have a value for each attribute of
                ``ordering``.
        """
        return self.build_condition()

    def build_condition(
        self, *, never_none: Collection[str] = ()
    ) -> ISpecification[T_contra] | None:
        """Return ``condition``, simpler for attributes of the order that no item has as None.

        Args:
            never_none: names of such attributes.

        Raises:
            SpecificationValueError: as for ``condition``.
        """
        if self.after is None:
            return self.specification
        if not self.ordering or len(self.after) != len(self.ordering):
            raise errors.SpecificationValueError(
                f"after takes a value for each attribute of the order ({len(self.ordering)}), got "
                f"{len(self.after)}; call with_ordering(...) and with_pagination(after=...)"
            )
        later = after_row(self.ordering, self.after, never_none)
        return later if self.specification is None else later & self.specification

    def with_specification(
        self, specification: ISpecification[T_contra] | None
    ) -> QueryOptions[T_contra]:
        """Return options with another condition."""
        return replace(self, specification=specification)

    def with_ordering(self, *attributes: str) -> QueryOptions[T_contra]:
        """Return options with another order: ``with_ordering("-created_at", "name")``."""
        return replace(self, ordering=attributes)

    def with_pagination(
        self, limit: int | None = None, offset: int = 0, *, after: tuple[object, ...] | None = None
    ) -> QueryOptions[T_contra]:
        """Return options for another page; ``after`` has the values of the last item seen."""
        return replace(self, limit=limit, offset=offset, after=after)

    def with_select_fields(self, *attributes: str) -> QueryOptions[T_contra]:
        """Return options that select these attributes instead of whole items."""
        return replace(self, select_fields=attributes)

    def with_distinct(self, distinct: bool = True) -> QueryOptions[T_contra]:
        """Return options that return equal rows once, or every row if ``distinct`` is False."""
        return replace(self, distinct=distinct)

    def next_page(self, last_item: object, *, key: str = KEY) -> QueryOptions[T_contra]:
        """Return options for the page after ``last_item``, the last item of this page.

        If an order has ties, a page could lose or repeat items, so it must include ``key``.
        ``"id"`` is appended for an aggregate, since repositories order equal aggregates by id.

        Args:
            last_item: the last item of this page, or its dict of ``select_fields``.
            key: an attribute whose values are unique and never None.

        Raises:
            NonUniqueOrderError: the order does not include the key, or the item lacks a value.
        """
        is_aggregate = isinstance(last_item, AggregateRoot)
        ordering = self._complete_order(key, is_aggregate=is_aggregate)
        after = read_position(last_item, ordering, key, self.select_fields)
        return replace(self, ordering=ordering, offset=0, after=after)

    def cursor_after(self, last_item: object, *, key: str = KEY) -> str:
        """Return a cursor, with which a client requests the page after ``last_item``.

        The URL-safe text contains the order and its values of the item. It is neither encrypted nor
        signed: a client can read it and change the values.

        Args:
            last_item: as for ``next_page``.
            key: as for ``next_page``.

        Raises:
            NonUniqueOrderError: as for ``next_page``.
            SpecificationLimitError: the cursor has more than 4,000 characters.
        """
        page = self.next_page(last_item, key=key)
        return encode_cursor(page.ordering, page.after or ())

    def with_cursor(self, cursor: str | None, *, key: str = KEY) -> QueryOptions[T_contra]:
        """Return options for the page that a cursor from a client requests; None is the first page.

        Set the order first. The values of the cursor are untrusted input: they are converted to the
        types of the fields, or rejected, when the search runs.

        Args:
            cursor: the text that ``cursor_after`` has returned for this order.
            key: as for ``next_page``.

        Raises:
            InvalidCursorError: the text is not a cursor, or it is one for another order.
            NonUniqueOrderError: the order does not include the key.
        """
        if cursor is None:
            return self
        ordering = self._complete_order(key, is_aggregate=True)
        return replace(self, ordering=ordering, offset=0, after=decode_cursor(cursor, ordering))

    def _complete_order(self, key: str, *, is_aggregate: bool) -> tuple[str, ...]:
        distinct_fields = self.select_fields if self.distinct else ()
        return complete_order(self.ordering, key, distinct_fields, is_aggregate=is_aggregate)

    def merge(self, other: QueryOptions[T_contra]) -> QueryOptions[T_contra]:
        """Return options that require both conditions; settings of ``other`` have priority."""
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

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        return schemas.build_schema(cls, cls.from_dict, cls.to_dict)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: schemas.JsonSchemaHandler
    ) -> schemas.JsonSchema:
        return handler(schemas.describe_options(Specification, MAX_LIMIT))

    def to_dict(self) -> dict[str, object]:
        """Return a dict for ``from_dict``, without options that have their default values.

        Raises:
            SpecificationError: a part of the condition is not built of attributes, or JSON cannot
                represent a value.
        """
        where = self.specification
        if where is not None and not isinstance(where, Specification):
            raise errors.SpecificationError(
                f"a {type(where).__name__} cannot be written as JSON, since it is not "
                "built of attributes; build the same condition with SpecificationBuilder"
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
        """Return the JSON of ``to_dict``."""
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
        """Read options from untrusted JSON of at most 1,000,000 characters.

        Parameters and errors are the same as for ``from_dict``.
        """
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
        """Read options from untrusted input; the default of ``limit`` is ``max_limit``.

        Args:
            data: a dict in the form that ``to_dict`` returns.
            allowed_fields: as in ``SpecificationFactory.from_dict``; also for the order and the
                selected fields.
            operators: as in ``SpecificationFactory.from_dict``.
            max_limit: the largest number of items that the input may request.

        Raises:
            SpecificationError: the input is malformed, too large, or names a field or an operator
                that is not allowed.
        """
        if not isinstance(data, Mapping) or not data.keys() <= _KEYS:
            given = errors.describe_data(data)
            raise errors.SpecificationError(
                f"query options may have the keys {', '.join(sorted(_KEYS))}, got {given}"
            )
        order, fields = (_read_names(data, key, allowed_fields) for key in ("order_by", "select"))
        distinct = data.get("distinct", False)
        if not isinstance(distinct, bool):
            raise errors.SpecificationValueError.unexpected_value(
                "distinct", "true or false", distinct
            )
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
        raise errors.SpecificationValueError.unexpected_value(key, "a list", given)
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
        raise errors.SpecificationLimitError("items in a page", max_limit, _MAX_COUNT)
    _ensure_count("limit", limit)
    errors.ensure_limit("items in a page", max_limit, limit)
    return int(limit)


def _ensure_names(name: str, given: object) -> None:
    if (
        isinstance(given, str)
        or not isinstance(given, Iterable)
        or not all(isinstance(each, str) and each for each in given)
    ):
        raise errors.SpecificationValueError.unexpected_value(
            name, "a list of attribute names", given
        )


def _ensure_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MAX_COUNT:
        raise errors.SpecificationValueError.unexpected_value(name, "a whole number from 0", count)
