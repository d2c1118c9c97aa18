"""Specifications that adapters add to those of a caller, and predicates of specifications."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...domain.specification import ICompiledSpecification, ISpecification


@dataclass(frozen=True)
class OneOf(ISpecification):
    """What has one of the values in the attribute."""

    attribute: str
    values: tuple[Any, ...]

    def is_satisfied_by(self, candidate: Any) -> bool:
        return getattr(candidate, self.attribute) in self.values


@dataclass(frozen=True)
class AllOf(ICompiledSpecification[Any]):
    """What satisfies every one of the specifications."""

    parts: tuple[ISpecification, ...]

    def is_satisfied_by(self, candidate: Any) -> bool:
        return all(part.is_satisfied_by(candidate) for part in self.parts)

    def predicate_for(self, candidates: type) -> Callable[[Any], bool]:
        predicates = [build_predicate(candidates, part) for part in self.parts]
        return lambda candidate: all(holds(candidate) for holds in predicates)


def build_predicate(candidates: type, condition: ISpecification | None) -> Callable[[Any], bool]:
    """The condition as a function, compiled once where it can be."""
    if condition is None:
        return lambda _: True
    if isinstance(condition, ICompiledSpecification):
        return condition.predicate_for(candidates)
    return condition.is_satisfied_by
