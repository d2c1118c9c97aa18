"""Conditions as a tree: leaves ask about one attribute, the rest joins them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from .coercion import MAX_PATH, MAX_PATTERN, shaped
from .exceptions import SpecificationLimitError, SpecificationValueError, shown
from .json_forms import refuse_unstorable
from .memory.evaluator import predicate_of
from .operators import OPERATORS, Operator

MAX_DEPTH = 64
MAX_NODES = 500

R = TypeVar("R")


class Visitor(Protocol[R]):
    """Makes something of a tree, from the leaves up."""

    def attribute(self, attribute: str, operator: Operator, value: Any) -> R: ...

    def all_of(self, parts: Sequence[R]) -> R: ...

    def any_of(self, parts: Sequence[R]) -> R: ...

    def negation(self, part: R) -> R: ...

    def foreign(self, specification: ISpecification[Any]) -> R:
        """A specification of somebody else's class."""
        ...


class Specification(ABC):
    """An ``ISpecification`` that ``&``, ``|`` and ``~`` join with others."""

    depth: int
    nodes: int

    @abstractmethod
    def accept(self, visitor: Visitor[R]) -> R: ...

    def is_satisfied_by(self, candidate: Any) -> bool:
        """Whether a pydantic model, a dataclass or a dict satisfies it.

        Raises ``SpecificationError`` for what its class cannot be asked.
        """
        kind = type(candidate)
        predicate = self._predicates.get(kind)
        if predicate is None:
            predicate = self._predicates[kind] = self.predicate_for(kind)
        return predicate(candidate)

    def predicate_for(self, candidates: type) -> Callable[[Any], bool]:
        """A function for many candidates of one class, compiled once."""
        return predicate_of(self, candidates)

    def __and__(self, other: ISpecification[Any]) -> Specification:
        return AndSpecification(_parts(AndSpecification, self, other))

    def __or__(self, other: ISpecification[Any]) -> Specification:
        return OrSpecification(_parts(OrSpecification, self, other))

    def __rand__(self, other: ISpecification[Any]) -> Specification:
        return AndSpecification(_parts(AndSpecification, other, self))

    def __ror__(self, other: ISpecification[Any]) -> Specification:
        return OrSpecification(_parts(OrSpecification, other, self))

    def __invert__(self) -> Specification:
        return NotSpecification(self)

    @cached_property
    def _predicates(self) -> dict[type, Callable[[Any], bool]]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # Without the compiled functions, which cannot be pickled.
        return {name: value for name, value in self.__dict__.items() if name != "_predicates"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@dataclass(frozen=True, init=False, repr=False)
class AttributeSpecification(Specification):
    """``AttributeSpecification("address.city", "=", "Berlin")``.

    Raises ``UnknownOperatorError``, and ``SpecificationValueError`` for a value of another shape
    than the operator takes.
    """

    attribute: str
    operator: Operator
    value: Any

    depth = 1
    nodes = 1

    def __init__(self, attribute: str, operator: str | Operator, value: Any = None) -> None:
        _refuse_malformed(attribute)
        found = OPERATORS.find(operator)
        self.__dict__.update(attribute=attribute, operator=found, value=shaped(found, value))

    def accept(self, visitor: Visitor[R]) -> R:
        return visitor.attribute(self.attribute, self.operator, self.value)

    def __repr__(self) -> str:
        return f"{self.attribute} {self.operator.name} {self.value!r}"


@dataclass(frozen=True, init=False, repr=False)
class _Joined(Specification):
    specifications: tuple[ISpecification[Any], ...]

    def __init__(self, specifications: Iterable[ISpecification[Any]] = ()) -> None:
        parts = tuple(specifications)
        for part in parts:
            _refuse_stranger(part)
        self.__dict__.update(specifications=parts)
        _measure(self, parts)

    def _accepted(self, visitor: Visitor[R]) -> list[R]:
        return [_accepted(part, visitor) for part in self.specifications]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.specifications))})"


class AndSpecification(_Joined):
    """Every one of them; of none, it is always satisfied."""

    def accept(self, visitor: Visitor[R]) -> R:
        return visitor.all_of(self._accepted(visitor))


class OrSpecification(_Joined):
    """At least one of them; of none, it is never satisfied."""

    def accept(self, visitor: Visitor[R]) -> R:
        return visitor.any_of(self._accepted(visitor))


@dataclass(frozen=True, repr=False)
class NotSpecification(Specification):
    """Exactly when the other one is not satisfied, for None as well."""

    specification: ISpecification[Any]

    def __post_init__(self) -> None:
        _refuse_stranger(self.specification)
        _measure(self, (self.specification,))

    def accept(self, visitor: Visitor[R]) -> R:
        return visitor.negation(_accepted(self.specification, visitor))

    def __repr__(self) -> str:
        return f"NotSpecification({self.specification!r})"


def _parts(
    joined: type[_Joined], *specifications: ISpecification[Any]
) -> list[ISpecification[Any]]:
    """Those of the same kind are taken apart, so that a long chain stays flat."""
    parts: list[ISpecification[Any]] = []
    for each in specifications:
        parts += each.specifications if type(each) is joined else [each]
    return parts


def _accepted(part: ISpecification[Any], visitor: Visitor[R]) -> R:
    return part.accept(visitor) if isinstance(part, Specification) else visitor.foreign(part)


def _measure(joined: Specification, parts: Sequence[ISpecification[Any]]) -> None:
    depth = 1 + max((part.depth for part in parts if isinstance(part, Specification)), default=1)
    nodes = 1 + sum(part.nodes if isinstance(part, Specification) else 1 for part in parts)
    if depth > MAX_DEPTH:
        raise SpecificationLimitError("levels", MAX_DEPTH, depth)
    if nodes > MAX_NODES:
        raise SpecificationLimitError("conditions and groups", MAX_NODES, nodes)
    joined.__dict__.update(depth=depth, nodes=nodes)


def _refuse_stranger(part: object) -> None:
    # The first check is for speed: a protocol is slow to ask.
    if not isinstance(part, Specification) and not isinstance(part, ISpecification):
        raise InvalidOperationError(
            f"{part!r} is no specification; pass what has is_satisfied_by, such as "
            'AttributeSpecification("status", "=", "open")'
        )


def _refuse_malformed(attribute: object) -> None:
    if not isinstance(attribute, str) or not all(attribute.split(".")):
        raise SpecificationValueError(
            f"an attribute is a name, or names with dots between, got {shown(attribute)}"
        )
    if attribute.count(".") >= MAX_PATH:
        raise SpecificationLimitError("names in a path", MAX_PATH, attribute.count(".") + 1)
    if len(attribute) > MAX_PATTERN:
        raise SpecificationLimitError("characters in a path", MAX_PATTERN, len(attribute))
    refuse_unstorable(attribute)
