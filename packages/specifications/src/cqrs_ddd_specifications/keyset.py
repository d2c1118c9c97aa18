"""Keyset pages: a position in an order without ties, and the condition for the rows after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from . import operators as op
from .exceptions import NonUniqueOrderError
from .memory.evaluator import read_attributes
from .specification import AttributeSpecification, OrSpecification, Specification

KEY = "id"
"""Attribute that is unique among aggregates, and by which repositories order equal aggregates."""


def list_attributes(ordering: Collection[str]) -> list[str]:
    """Return the names in an order, without the signs for descending."""
    return [name.removeprefix("-") for name in ordering]


def complete_order(
    ordering: tuple[str, ...], key: str, distinct_fields: Collection[str], *, is_aggregate: bool
) -> tuple[str, ...]:
    """Return the order if no two items can be equal in it, with ``KEY`` for an aggregate.

    Args:
        ordering: attributes to order by.
        key: an attribute whose values are unique.
        distinct_fields: the fields whose combinations are unique, or none.
        is_aggregate: True if the items are aggregates.

    Raises:
        NonUniqueOrderError: two items can be equal in the order.
    """
    names = list_attributes(ordering)
    if key in names or (distinct_fields and {*distinct_fields} <= {*names}):
        return ordering
    if is_aggregate and key == KEY:
        return (*ordering, KEY)
    raise NonUniqueOrderError.without_key(ordering, key)


def read_position(
    item: object, ordering: tuple[str, ...], key: str, selected: Collection[str]
) -> tuple[object, ...]:
    """Return the values of the order from an item, or from a dict of selected fields.

    Raises:
        NonUniqueOrderError: the item lacks a value of the order, or its key is None.
    """
    names = list_attributes(ordering)
    if selected and isinstance(item, Mapping):
        missing = [name for name in names if name not in item]
        if missing:
            raise NonUniqueOrderError.not_selected(ordering, missing)
        values = tuple(item[name] for name in names)
    else:
        values = read_attributes(item, names)
    if key in names and values[names.index(key)] is None:
        raise NonUniqueOrderError.key_is_none(ordering, key)
    return values


def after_row(
    ordering: tuple[str, ...], values: tuple[object, ...], never_none: Collection[str] = ()
) -> Specification:
    """Return the condition for rows after the row with these values of the order.

    It starts with a condition on the first attribute alone, which an index can answer.

    Args:
        ordering: attributes to order by.
        values: the value of each attribute.
        never_none: attributes that no row has as None, which make a simpler condition.
    """
    attribute, is_descending = ordering[0].removeprefix("-"), ordering[0].startswith("-")
    may_be_none = attribute not in never_none
    is_later = _compare(attribute, values[0], (op.GT, op.LT)[is_descending], may_be_none)
    if len(ordering) == 1:
        return is_later
    is_after = is_later | after_row(ordering[1:], values[1:], never_none)
    if values[0] is None and is_descending:
        return is_after  # None comes first, so every row is equal or later.
    return _compare(attribute, values[0], (op.GE, op.LE)[is_descending], may_be_none) & is_after


def _compare(
    attribute: str, value: object, operator: op.Operator, may_be_none: bool
) -> Specification:
    # None comes after every value, so it is last in ascending and first in descending order.
    is_null = AttributeSpecification(attribute, op.IS_NULL)
    if value is not None:
        found = AttributeSpecification(attribute, operator, value)
        return found | is_null if may_be_none and operator in (op.GT, op.GE) else found
    if operator is op.GT:
        return OrSpecification()
    return is_null if operator is op.GE else AttributeSpecification(attribute, op.IS_NOT_NULL)
