"""Attributes that exist for those who ask, and stand for something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cqrs_ddd_core.domain.specification import ISpecification

from .operators import Operator
from .specification import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    Specification,
)

Hook = Callable[[AttributeSpecification], ISpecification[Any] | None]
"""Answers what a condition stands for, or None to leave it as it is."""


def resolve(specification: Specification, *hooks: Hook) -> Specification:
    """The same tree with conditions replaced, so that every world sees the same.

    The first hook that answers counts; what it answers is not resolved again.
    """
    resolved = specification.accept(_Resolver(hooks))
    return resolved if isinstance(resolved, Specification) else AndSpecification([resolved])


class _Resolver:
    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = hooks

    def attribute(self, attribute: str, operator: Operator, value: Any) -> ISpecification[Any]:
        condition = AttributeSpecification(attribute, operator, value)
        answers = (hook(condition) for hook in self._hooks)
        return next((answer for answer in answers if answer is not None), condition)

    def all_of(self, parts: Sequence[ISpecification[Any]]) -> ISpecification[Any]:
        return AndSpecification(parts)

    def any_of(self, parts: Sequence[ISpecification[Any]]) -> ISpecification[Any]:
        return OrSpecification(parts)

    def negation(self, part: ISpecification[Any]) -> ISpecification[Any]:
        return NotSpecification(part)

    def foreign(self, specification: ISpecification[Any]) -> ISpecification[Any]:
        return specification
