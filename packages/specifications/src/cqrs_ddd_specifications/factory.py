"""Specifications to dicts and JSON, and back from strangers."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from pydantic_core import to_json

from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.primitives.exceptions import ConfigError

from .exceptions import (
    SpecificationError,
    SpecificationLimitError,
    UnknownFieldError,
    UnknownOperatorError,
    UnsupportedOperatorError,
    shown,
)
from .json_forms import written_form
from .operators import OPERATORS, Operator, normal
from .specification import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    Specification,
)

MAX_JSON = 1_000_000
"""Characters."""
MAX_LEVELS = 32
"""Of groups; what is built on them, such as a page, may add some more."""

AllowedFields = Collection[str] | Mapping[str, Collection[str | Operator]]
"""Names, or names with the operators that each may be asked with."""

_CONDITION = ("attribute", "operator", "value")


class SpecificationFactory:
    """Reads ``{"and": [{"attribute": "status", "operator": "=", "value": "open"}, ...]}``.

    Safe on what a stranger sent: only known keys and operators, bounded depth and size, and no
    more than ``allowed_fields``. Values are checked against their fields when they are used.
    """

    @staticmethod
    def from_dict(
        data: Mapping[str, Any],
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[Operator] = (),
    ) -> Specification:
        """``operators`` are those that may be named beside the portable ones.

        Without ``allowed_fields`` every field of the model may be asked for. Raises
        ``SpecificationError``.
        """
        named = {
            normal(spelling): each
            for each in operators
            for spelling in (each.name, *each.spellings)
        }
        return _Reader(allowed_fields, named).read(data, 1)

    @staticmethod
    def from_json(
        text: str | bytes,
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[Operator] = (),
    ) -> Specification:
        return SpecificationFactory.from_dict(
            read_json(text), allowed_fields=allowed_fields, operators=operators
        )

    @staticmethod
    def to_dict(specification: Specification) -> dict[str, Any]:
        """What ``from_dict`` reads, of JSON's types; a field makes its own of them again."""
        return specification.accept(_Writer())

    @staticmethod
    def to_json(specification: Specification) -> str:
        return to_json(SpecificationFactory.to_dict(specification)).decode()


def read_json(text: str | bytes) -> Any:
    """Raises ``SpecificationError`` for what is too long, no JSON, or has a key twice."""
    if len(text) > MAX_JSON:
        raise SpecificationLimitError("characters", MAX_JSON, len(text))
    try:
        return json.loads(text, object_pairs_hook=_with_each_key_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise SpecificationError(f"not JSON that can be read: {error}") from error


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # Of two, somebody before us may have looked at the other one.
        raise SpecificationError(f"a key is there twice, among {shown([key for key, _ in pairs])}")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def refuse_field(attribute: object, allowed: AllowedFields | None) -> None:
    """Raises ``UnknownFieldError`` for what is not allowed; any name is, where nothing is said."""
    if isinstance(allowed, str):
        raise ConfigError(
            f"allowed_fields takes a list of names, got {allowed!r}; pass [{allowed!r}]"
        )
    if allowed is not None and (not isinstance(attribute, str) or attribute not in allowed):
        raise UnknownFieldError(attribute, list(allowed))


class _Reader:
    def __init__(self, allowed: AllowedFields | None, named: Mapping[str, Operator]) -> None:
        self._allowed = allowed
        self._named = named
        self._operators = (
            {name: _found(name, some) for name, some in allowed.items()}
            if isinstance(allowed, Mapping)
            else None
        )

    def read(self, data: Any, depth: int) -> Specification:
        if depth > MAX_LEVELS:
            raise SpecificationLimitError("levels", MAX_LEVELS, depth)
        if not isinstance(data, Mapping):
            raise _unreadable(data)
        if len(data) == 1:
            [(key, inner)] = data.items()
            if key in ("and", "or") and isinstance(inner, (list, tuple)):
                parts = [self.read(each, depth + 1) for each in inner]
                return AndSpecification(parts) if key == "and" else OrSpecification(parts)
            if key == "not":
                return NotSpecification(self.read(inner, depth + 1))
        if not {"attribute", "operator"} <= data.keys() <= {*_CONDITION}:
            raise _unreadable(data)
        return self._condition(data["attribute"], data["operator"], data.get("value"))

    def _condition(self, attribute: Any, spelling: Any, value: Any) -> AttributeSpecification:
        refuse_field(attribute, self._allowed)
        if not isinstance(spelling, str):
            raise UnknownOperatorError(spelling, advice="give the name of one")
        # Only names come from strangers, and names find the portable ones.
        operator = self._named.get(normal(spelling)) or OPERATORS.find(spelling)
        if self._operators is not None and operator not in self._operators[attribute]:
            names = sorted(each.name for each in self._operators[attribute])
            raise UnsupportedOperatorError(
                f"{attribute} may not be asked with {operator.name}; use {', '.join(names)}"
            )
        return AttributeSpecification(attribute, operator, value)


def _found(attribute: str, spellings: Collection[str | Operator]) -> list[Operator]:
    """Raises ``ConfigError`` for what is no list of operators: the developer's mistake."""
    if isinstance(spellings, str):
        raise ConfigError(f"allowed_fields of {attribute} takes a list of operators")
    try:
        return [OPERATORS.find(each) for each in spellings]
    except UnknownOperatorError as error:
        raise ConfigError(f"allowed_fields of {attribute}: {error}") from error


class _Writer:
    def attribute(self, attribute: str, operator: Operator, value: Any) -> dict[str, Any]:
        condition = {"attribute": attribute, "operator": operator.name}
        return condition if value is None else {**condition, "value": written_form(value)}

    def all_of(self, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"and": list(parts)}

    def any_of(self, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"or": list(parts)}

    def negation(self, part: dict[str, Any]) -> dict[str, Any]:
        return {"not": part}

    def foreign(self, specification: ISpecification[Any]) -> dict[str, Any]:
        raise SpecificationError(
            f"{specification!r} is not made of attributes and cannot be written down; write what "
            "it asks with SpecificationBuilder"
        )


def _unreadable(data: object) -> SpecificationError:
    return SpecificationError(
        'a specification is {"and": [...]}, {"or": [...]}, {"not": {...}} or {"attribute": ..., '
        f'"operator": ..., "value": ...}}, got {shown(data, 80)}'
    )
