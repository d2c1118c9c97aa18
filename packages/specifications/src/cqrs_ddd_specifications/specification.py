"""Specifications as a tree: leaves compare one attribute, groups combine other specifications."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from . import pydantic_schema as schemas
from .coercion import validate_path, validate_shape
from .exceptions import ensure_limit
from .json_form import TreeReader, TreeWriter
from .memory.evaluator import PredicateCompiler
from .operators import OPERATORS, Operator
from .visitor import AnySpecification, R, Visitor

MAX_DEPTH = 64
MAX_NODES = 500


class Specification(ABC):
    """Condition on objects or rows, which can be combined with ``&``, ``|`` and ``~``.

    It is an ``ISpecification`` for candidates of any class. Python's ``and``, ``or``, ``not`` and
    ``if`` raise ``InvalidOperationError``. ``SpecificationLimitError`` is raised for a tree of more
    than 64 levels, or of more than 500 conditions and groups.

    A field of a pydantic model may be a specification. It accepts and writes the JSON form of
    ``SpecificationFactory``, with the limits for untrusted input.
    """

    depth: int
    nodes: int

    @abstractmethod
    def accept(self, visitor: Visitor[R]) -> R:
        """Build a result with a visitor, from the leaves up."""
        ...

    def is_satisfied_by(self, candidate: object) -> bool:
        """Return whether a pydantic model, a dataclass or a dict satisfies the specification.

        Raises:
            SpecificationError: the class of the candidate lacks a field, or the type of a field
                does not support an operator.
        """
        kind = type(candidate)
        predicate = self._predicates.get(kind)
        if predicate is None:
            predicate = self._predicates[kind] = self.predicate_for(kind)
        return predicate(candidate)

    def predicate_for(self, candidates: type) -> Callable[[object], bool]:
        """Compile a function for many candidates of one class.

        Raises:
            SpecificationError: the class lacks a field, or the type of a field does not support
                an operator.
        """
        compiler = PredicateCompiler(candidates)
        return compiler.compile(self.accept(compiler))

    def __and__(self, other: AnySpecification) -> Specification:
        return AndSpecification(_flatten_groups(AndSpecification, self, other))

    def __or__(self, other: AnySpecification) -> Specification:
        return OrSpecification(_flatten_groups(OrSpecification, self, other))

    def __rand__(self, other: AnySpecification) -> Specification:
        return AndSpecification(_flatten_groups(AndSpecification, other, self))

    def __ror__(self, other: AnySpecification) -> Specification:
        return OrSpecification(_flatten_groups(OrSpecification, other, self))

    def __invert__(self) -> Specification:
        return NotSpecification(self)

    def __bool__(self) -> NoReturn:
        raise InvalidOperationError(
            "a specification is neither true nor false; combine specifications with &, | and ~ "
            "instead of and, or and not, write field(...).between(low, high) instead of low <= "
            "field(...) <= high, compare with `is None`, and call is_satisfied_by(candidate) to "
            "evaluate"
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> schemas.CoreSchema:
        return schemas.build_schema(
            cls, TreeReader(TreeBuilder()).read, lambda given: given.accept(TreeWriter())
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: schemas.CoreSchema, handler: schemas.JsonSchemaHandler
    ) -> schemas.JsonSchema:
        return handler(schemas.describe_specification(cls))

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
        operator: one of the operator's spellings, or the operator itself.
        value: the operand, in the shape that the operator takes.

    Raises:
        UnknownOperatorError: no portable operator has this spelling.
        SpecificationValueError: the value does not have the shape that the operator takes.
        SpecificationLimitError: the path or the value is too long.

    Example:
        ```python
        from cqrs_ddd_specifications import AttributeSpecification

        is_open = AttributeSpecification("status", "=", "open")
        is_large = AttributeSpecification("total", ">", 100)
        wanted = is_open & ~is_large
        ```
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
        """Visit the condition."""
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
    """Conjunction of specifications; an empty one is always satisfied.

    Args:
        specifications: the parts, which must all be satisfied.
    """

    def accept(self, visitor: Visitor[R]) -> R:
        """Visit the parts, then the conjunction of their results."""
        return visitor.all_of(self._accept_parts(visitor))


class OrSpecification(_Group):
    """Disjunction of specifications; an empty one is never satisfied.

    Args:
        specifications: the parts, of which at least one must be satisfied.
    """

    def accept(self, visitor: Visitor[R]) -> R:
        """Visit the parts, then the disjunction of their results."""
        return visitor.any_of(self._accept_parts(visitor))


@dataclass(frozen=True, repr=False)
class NotSpecification(Specification):
    """Exact opposite of another specification, for None as well.

    Args:
        specification: the specification that must not be satisfied.
    """

    specification: AnySpecification

    def __post_init__(self) -> None:
        _measure(self, (self.specification,))

    def accept(self, visitor: Visitor[R]) -> R:
        """Visit the specification, then the negation of its result."""
        return visitor.negation(_accept(self.specification, visitor))

    def __repr__(self) -> str:
        return f"NotSpecification({self.specification!r})"


Hook = Callable[[AttributeSpecification], AnySpecification | None]
"""Function that returns the replacement of a condition, or None to keep it."""


def resolve(specification: Specification, *hooks: Hook) -> Specification:
    """Return the specification with conditions replaced by hooks.

    Resolved specifications keep backends equal: each backend evaluates the same tree.

    Args:
        specification: the tree to resolve.
        hooks: called for each condition in order, until a hook returns a replacement; hooks are
            not called for replacements.
    """
    return to_tree(specification.accept(TreeBuilder(hooks)))


class TreeBuilder:
    """Visitor that builds a tree, with conditions replaced by hooks."""

    def __init__(self, hooks: Sequence[Hook] = ()) -> None:
        self._hooks = hooks

    def attribute(self, attribute: str, operator: Operator, value: object) -> AnySpecification:
        """Return the replacement of a condition by the first hook that has one."""
        condition = AttributeSpecification(attribute, operator, value)
        replacements = (hook(condition) for hook in self._hooks)
        return next((each for each in replacements if each is not None), condition)

    def all_of(self, parts: Sequence[AnySpecification]) -> AnySpecification:
        """Return a conjunction."""
        return AndSpecification(parts)

    def any_of(self, parts: Sequence[AnySpecification]) -> AnySpecification:
        """Return a disjunction."""
        return OrSpecification(parts)

    def negation(self, part: AnySpecification) -> AnySpecification:
        """Return a negation."""
        return NotSpecification(part)

    def opaque(self, specification: AnySpecification) -> AnySpecification:
        """Return the specification itself."""
        return specification


def to_tree(found: AnySpecification) -> Specification:
    """Return the specification, within a group if its class is outside this package."""
    return found if isinstance(found, Specification) else AndSpecification([found])


def _flatten_groups(group: type[_Group], *parts: AnySpecification) -> list[AnySpecification]:
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
                f"a {type(part).__name__} is not a specification; pass an object with "
                "is_satisfied_by, such as "
                'AttributeSpecification("status", "=", "open")'
            )
    ensure_limit("levels", MAX_DEPTH, depth)
    ensure_limit("conditions and groups", MAX_NODES, nodes)
    group.__dict__.update(depth=depth, nodes=nodes)
