"""Specifications written one after the other."""

from __future__ import annotations

from typing import Any

from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from .operators import Operator
from .specification import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    Specification,
)


class SpecificationBuilder:
    """Conditions that all hold, unless a group says otherwise.

    ::

        SpecificationBuilder().where("status", "=", "open").or_group()
            .where("total", ">", 100).where("customer.vip", "=", True).end_group().build()
    """

    def __init__(self) -> None:
        self._groups: list[tuple[str, list[ISpecification[Any]]]] = [("and", [])]

    def where(
        self, attribute: str, operator: str | Operator, value: Any = None
    ) -> SpecificationBuilder:
        return self.add(AttributeSpecification(attribute, operator, value))

    def add(self, specification: ISpecification[Any]) -> SpecificationBuilder:
        self._groups[-1][1].append(specification)
        return self

    def and_group(self) -> SpecificationBuilder:
        """Until ``end_group``: every condition holds."""
        return self._open("and")

    def or_group(self) -> SpecificationBuilder:
        """Until ``end_group``: at least one condition holds."""
        return self._open("or")

    def not_group(self) -> SpecificationBuilder:
        """Until ``end_group``: not every condition holds."""
        return self._open("not")

    def end_group(self) -> SpecificationBuilder:
        """Raises ``InvalidOperationError`` when no group is open."""
        if len(self._groups) == 1:
            raise InvalidOperationError("no group is open; call or_group() or another one first")
        return self.add(_joined(*self._groups.pop()))

    def build(self) -> Specification:
        """What was written; nothing at all is satisfied always.

        Raises ``InvalidOperationError`` while a group is open.
        """
        if len(self._groups) > 1:
            raise InvalidOperationError(
                f"{len(self._groups) - 1} group(s) still open; call end_group() for each"
            )
        return _joined(*self._groups[0])

    def _open(self, kind: str) -> SpecificationBuilder:
        self._groups.append((kind, []))
        return self


def _joined(kind: str, parts: list[ISpecification[Any]]) -> Specification:
    if kind == "or":
        return OrSpecification(parts)
    first = parts[0] if len(parts) == 1 else None
    every = first if isinstance(first, Specification) else AndSpecification(parts)
    return NotSpecification(every) if kind == "not" else every
