"""Traversal of a tree of specifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from cqrs_ddd_core.domain.specification import ISpecification

from .operators import Operator

R = TypeVar("R")

AnySpecification: TypeAlias = ISpecification[Any]
"""Specification for candidates of any class."""


class Visitor(Protocol[R]):
    """Builder of one result from a tree, from the leaves up."""

    def attribute(self, attribute: str, operator: Operator, value: object) -> R: ...

    def all_of(self, parts: Sequence[R]) -> R: ...

    def any_of(self, parts: Sequence[R]) -> R: ...

    def negation(self, part: R) -> R: ...

    def opaque(self, specification: AnySpecification) -> R:
        """Convert a specification whose class this package does not define."""
        ...
