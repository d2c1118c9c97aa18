"""Conditions that adapters add to those of a caller; every world knows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...domain.specification import ICompiledSpecification, ISpecification
from .in_memory_query import predicate_over


@dataclass(frozen=True)
class OneOf(ISpecification[Any]):
    """What has one of the values in the attribute."""

    attribute: str
    values: tuple[Any, ...]

    def is_satisfied_by(self, candidate: Any) -> bool:
        return getattr(candidate, self.attribute) in self.values


@dataclass(frozen=True)
class AllOf(ICompiledSpecification[Any]):
    """What satisfies every one of the specifications."""

    parts: tuple[ISpecification[Any], ...]

    def is_satisfied_by(self, candidate: Any) -> bool:
        return all(part.is_satisfied_by(candidate) for part in self.parts)

    def predicate_for(self, candidates: type) -> Callable[[Any], bool]:
        predicates = [predicate_over(candidates, part) for part in self.parts]
        return lambda candidate: all(holds(candidate) for holds in predicates)
