"""The items that come after one that was seen."""

from __future__ import annotations

from typing import Any

from .operators import EQ, GT, IS_NOT_NULL, IS_NULL, LT
from .specification import (
    AndSpecification,
    AttributeSpecification,
    OrSpecification,
    Specification,
)


def behind(ordering: tuple[str, ...], after: tuple[Any, ...]) -> Specification:
    """Larger in the first attribute that differs."""
    ways: list[Specification] = []
    alike: list[Specification] = []
    for name, value in zip(ordering, after, strict=True):
        attribute = name.removeprefix("-")
        ways.append(AndSpecification([*alike, _beyond(attribute, value, name.startswith("-"))]))
        alike.append(AttributeSpecification(attribute, EQ, value))
    return OrSpecification(ways)


def _beyond(attribute: str, value: Any, descending: bool) -> Specification:
    # None comes after every value, so it is the last one, or the first one in descending order.
    if descending:
        if value is None:
            return AttributeSpecification(attribute, IS_NOT_NULL)
        return AttributeSpecification(attribute, LT, value)
    if value is None:
        return OrSpecification()
    return AttributeSpecification(attribute, GT, value) | AttributeSpecification(attribute, IS_NULL)
