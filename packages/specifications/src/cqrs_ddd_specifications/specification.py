"""Specifications as a tree: leaves compare one attribute, groups combine other specifications."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from .coercion import validate_path, validate_shape
from .exceptions import ensure_limit
from .memory.evaluator import PredicateCompiler
from .operators import OPERATORS, Operator
from .visitor import AnySpecification, R, Visitor

MAX_DEPTH = 64
MAX_NODES = 500


class Specification(ABC):
    """An ``ISpecification`` that can be combined with ``&``, ``|`` and ``~``."""

    depth: int
    nodes: int

    @abstractmethod
    def accept(self, visitor: Visitor[R]) -> R: ...

    def is_satisfied_by(self, candidate: object) -> bool:
        """Return whether a pydantic model, a dataclass or a dict satisfies the specification.

        Raises ``SpecificationError`` if the class of the candidate lacks a field or its type does
        not support an operator.
        """
        kind = type(candidate)
        predicate = self._predicates.get(kind)
        if predicate is None:
            predicate = self._predicates[kind] = self.predicate_for(kind)
        return predicate(candidate)

    def predicate_for(self, candidates: type) -> Callable[[object], bool]:
        """Compile a function for many candidates of one class."""
        compiler = PredicateCompiler(candidates)
        return compiler.compile(self.accept(compiler))

    def __and__(self, other: AnySpecification) -> Specification:
        return AndSpecification(_flatten(AndSpecification, self, other))

    def __or__(self, other: AnySpecification) -> Specification:
        return OrSpecification(_flatten(OrSpecification, self, other))

    def __rand__(self, other: AnySpecification) -> Specification:
        return AndSpecification(_flatten(AndSpecification, other, self))

    def __ror__(self, other: AnySpecification) -> Specification:
        return OrSpecification(_flatten(OrSpecification, other, self))

    def __invert__(self) -> Specification:
        return NotSpecification(self)

    @cached_property
    def _predicates(self) -> dict[type, Callable[[object], bool]]:
        return {}

    def __getstate__(self) -> dict[str, object]:
        # Compiled functions cannot be pickled.
        return {name: value for name, value in self.__dict__.items() if name != "_predicates"}

    def __setstate__(self, state: Mapping[str, object]) -> None:
        self.__dict__.update(state)


@dataclass(frozen=True, init=False, repr=False)
class AttributeSpecification(Specification):
    """Condition on one attribute: ``AttributeSpecification("address.city", "=", "Berlin")``.

    Args:
        attribute: a name, or a dotted path.
        operator: one of its spellings, or the operator itself.
        value: in the shape that the operator takes.

    Raises:
        UnknownOperatorError: no portable operator has this spelling.
        SpecificationValueError: the value has another shape.
    """

    attribute: str
    operator: Operator
    value: object

    depth = 1
    nodes = 1

    def __init__(self, attribute: str, operator: str | Operator, value: object = None) -> None:
        validate_path(attribute)
        found = OPERATORS.find(operator)
        shape = validate_shape(found, value)
        self.__dict__.update(attribute=attribute, operator=found, value=shape)

    def accept(self, visitor: Visitor[R]) -> R:
        return visitor.attribute(self.attribute, self.operator, self.value)

    def __repr__(self) -> str:
        return f"{self.attribute} {self.operator.name} {self.value!r}"


@dataclass(frozen=True, init=False, repr=False)
class _Group(Specification):
    """Combination of any number of specifications."""

    specifications: tuple[AnySpecification, ...]

    def __init__(self, specifications: Iterable[AnySpecification] = ()) -> None:
        parts = tuple(specifications)
        self.__dict__.update(specifications=parts)
        _measure(self, parts)

    def _accept_parts(self, visitor: Visitor[R]) -> list[R]:
        return [_accept(part, visitor) for part in self.specifications]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.specifications))})"


class AndSpecification(_Group):
    """Conjunction; an empty one is always satisfied."""

    def accept(self, visitor: Visitor[R]) -> R:
        return visitor.all_of(self._accept_parts(visitor))


class OrSpecification(_Group):
    """Disjunction; an empty one is never satisfied."""

    def accept(self, visitor: Visitor[R]) -> R:
        return visitor.any_of(self._accept_parts(visitor))


@dataclass(frozen=True, repr=False)
class NotSpecification(Specification):
    """Exact opposite of another specification, for None as well."""

    specification: AnySpecification

    def __post_init__(self) -> None:
        _measure(self, (self.specification,))

    def accept(self, visitor: Visitor[R]) -> R:
        return visitor.negation(_accept(self.specification, visitor))

    def __repr__(self) -> str:
        return f"NotSpecification({self.specification!r})"


Hook = Callable[[AttributeSpecification], AnySpecification | None]
"""Function that returns the replacement of a condition, or None to keep it."""


def resolve(specification: Specification, *hooks: Hook) -> Specification:
    """Replace conditions, so that every backend evaluates the same tree.

    The first hook that returns a replacement wins; hooks do not see replacements.
    """
    resolved = specification.accept(_Resolver(hooks))
    return resolved if isinstance(resolved, Specification) else AndSpecification([resolved])


class _Resolver:
    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = hooks

    def attribute(self, attribute: str, operator: Operator, value: object) -> AnySpecification:
        condition = AttributeSpecification(attribute, operator, value)
        replacements = (hook(condition) for hook in self._hooks)
        return next((each for each in replacements if each is not None), condition)

    def all_of(self, parts: Sequence[AnySpecification]) -> AnySpecification:
        return AndSpecification(parts)

    def any_of(self, parts: Sequence[AnySpecification]) -> AnySpecification:
        return OrSpecification(parts)

    def negation(self, part: AnySpecification) -> AnySpecification:
        return NotSpecification(part)

    def opaque(self, specification: AnySpecification) -> AnySpecification:
        return specification


def _flatten(group: type[_Group], *parts: AnySpecification) -> list[AnySpecification]:
    """Replace groups of the same kind by their parts, so that a long chain stays flat."""
    flat: list[AnySpecification] = []
    for part in parts:
        flat += part.specifications if type(part) is group else [part]
    return flat


def _accept(part: AnySpecification, visitor: Visitor[R]) -> R:
    return part.accept(visitor) if isinstance(part, Specification) else visitor.opaque(part)


def _measure(group: Specification, parts: Sequence[AnySpecification]) -> None:
    depth, nodes = 2, 1
    for part in parts:
        if isinstance(part, Specification):
            depth, nodes = max(depth, part.depth + 1), nodes + part.nodes
        elif isinstance(part, ISpecification):
            nodes += 1
        else:
            raise InvalidOperationError(
                f"{part!r} is no specification; pass an object with is_satisfied_by, such as "
                'AttributeSpecification("status", "=", "open")'
            )
    ensure_limit("levels", MAX_DEPTH, depth)
    ensure_limit("conditions and groups", MAX_NODES, nodes)
    group.__dict__.update(depth=depth, nodes=nodes)
