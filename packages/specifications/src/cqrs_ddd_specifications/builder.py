"""Step-by-step construction of specifications."""

from __future__ import annotations

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from .operators import Operator
from .specification import AndSpecification, AttributeSpecification, OrSpecification, Specification
from .visitor import AnySpecification


class SpecificationBuilder:
    """Builder of a specification that requires all its conditions, except inside a group.

    A method adds a condition or a group and returns the builder itself.

    Example:
        ```python
        from cqrs_ddd_specifications import SpecificationBuilder

        wanted = (
            SpecificationBuilder()
            .where("status", "=", "open")
            .or_group()
            .where("total", ">", 100)
            .where("customer.vip", "=", True)
            .end_group()
            .build()
        )
        ```
    """

    def __init__(self) -> None:
        self._groups: list[tuple[str, list[AnySpecification]]] = [("and", [])]

    def where(
        self, attribute: str, operator: str | Operator, value: object = None
    ) -> SpecificationBuilder:
        """Add a condition on one attribute.

        Args:
            attribute: a name, or a dotted path.
            operator: one of the operator's spellings, or the operator itself.
            value: the operand, in the shape that the operator takes.

        Raises:
            UnknownOperatorError: no portable operator has this spelling.
            SpecificationValueError: the value does not have the shape that the operator takes.
        """
        return self.add(AttributeSpecification(attribute, operator, value))

    def add(self, specification: AnySpecification) -> SpecificationBuilder:
        """Add a specification to the open group."""
        self._groups[-1][1].append(specification)
        return self

    def and_group(self) -> SpecificationBuilder:
        """Open a group that requires all its conditions, until ``end_group``."""
        return self._open_group("and")

    def or_group(self) -> SpecificationBuilder:
        """Open a group that requires at least one of its conditions, until ``end_group``."""
        return self._open_group("or")

    def not_group(self) -> SpecificationBuilder:
        """Open a group of conditions that must not all hold, until ``end_group``."""
        return self._open_group("not")

    def end_group(self) -> SpecificationBuilder:
        """Close the innermost group.

        Raises:
            InvalidOperationError: no group is open.
        """
        if len(self._groups) == 1:
            raise InvalidOperationError(
                "no group is open; call and_group(), or_group() or not_group() first"
            )
        return self.add(_combine(*self._groups.pop()))

    def build(self) -> Specification:
        """Return the specification; without conditions it is always satisfied.

        Raises:
            InvalidOperationError: a group is still open.
        """
        if len(self._groups) > 1:
            raise InvalidOperationError(
                f"{len(self._groups) - 1} group(s) still open; call end_group() for each"
            )
        return _combine(*self._groups[0])

    def _open_group(self, kind: str) -> SpecificationBuilder:
        self._groups.append((kind, []))
        return self


def _combine(kind: str, parts: list[AnySpecification]) -> Specification:
    if kind == "or":
        return OrSpecification(parts)
    only = parts[0] if len(parts) == 1 else None
    every = only if isinstance(only, Specification) else AndSpecification(parts)
    return ~every if kind == "not" else every
