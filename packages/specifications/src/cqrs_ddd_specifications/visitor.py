"""Visitor of a tree of specifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from cqrs_ddd_core.domain.specification import ISpecification

from .operators import Operator

R = TypeVar("R")

AnySpecification: TypeAlias = ISpecification[Any]
"""Specification for candidates of any class."""


class Visitor(Protocol[R]):
    """Builder of one result from a tree of specifications, from the leaves up."""

    def attribute(self, attribute: str, operator: Operator, value: object) -> R:
        """Return the result of a condition on one attribute."""
        ...

    def all_of(self, parts: Sequence[R]) -> R:
        """Return the result of a conjunction, which is satisfied if ``parts`` is empty."""
        ...

    def any_of(self, parts: Sequence[R]) -> R:
        """Return the result of a disjunction, which is not satisfied if ``parts`` is empty."""
        ...

    def negation(self, part: R) -> R:
        """Return the result of a negation: true if the condition is false, for None as well."""
        ...

    def opaque(self, specification: AnySpecification) -> R:
        """Return the result of a specification of a class outside this package."""
        ...
