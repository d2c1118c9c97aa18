"""Construction of specifications one condition after the other."""

from __future__ import annotations

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from .operators import Operator
from .specification import AndSpecification, AttributeSpecification, OrSpecification, Specification
from .visitor import AnySpecification


class SpecificationBuilder:
    """Builder of conditions that all hold, except in a group of another kind.

    ::

        SpecificationBuilder().where("status", "=", "open").or_group()
            .where("total", ">", 100).where("customer.vip", "=", True).end_group().build()
    """

    def __init__(self) -> None:
        self._groups: list[tuple[str, list[AnySpecification]]] = [("and", [])]

    def where(
        self, attribute: str, operator: str | Operator, value: object = None
    ) -> SpecificationBuilder:
        return self.add(AttributeSpecification(attribute, operator, value))

    def add(self, specification: AnySpecification) -> SpecificationBuilder:
        self._groups[-1][1].append(specification)
        return self

    def and_group(self) -> SpecificationBuilder:
        """Open a group, until ``end_group``, of which every condition holds."""
        return self._open("and")

    def or_group(self) -> SpecificationBuilder:
        """Open a group, until ``end_group``, of which at least one condition holds."""
        return self._open("or")

    def not_group(self) -> SpecificationBuilder:
        """Open a group, until ``end_group``, of which at least one condition does not hold."""
        return self._open("not")

    def end_group(self) -> SpecificationBuilder:
        """Close the group; raise ``InvalidOperationError`` if none is open."""
        if len(self._groups) == 1:
            raise InvalidOperationError("no group is open; call or_group() or another one first")
        return self.add(_combine(*self._groups.pop()))

    def build(self) -> Specification:
        """Return the specification; without conditions it is always satisfied.

        Raises ``InvalidOperationError`` while a group is open.
        """
        if len(self._groups) > 1:
            raise InvalidOperationError(
                f"{len(self._groups) - 1} group(s) still open; call end_group() for each"
            )
        return _combine(*self._groups[0])

    def _open(self, kind: str) -> SpecificationBuilder:
        self._groups.append((kind, []))
        return self


def _combine(kind: str, parts: list[AnySpecification]) -> Specification:
    if kind == "or":
        return OrSpecification(parts)
    only = parts[0] if len(parts) == 1 else None
    every = only if isinstance(only, Specification) else AndSpecification(parts)
    return ~every if kind == "not" else every
