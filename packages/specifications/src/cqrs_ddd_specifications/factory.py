"""Conversion of specifications to dicts and JSON, and back from untrusted input."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from pydantic_core import to_json

from cqrs_ddd_core.primitives.exceptions import ConfigError

from . import exceptions as errors
from .json_values import to_stored_json
from .operators import OPERATORS, Operator, normalize_name
from .specification import AndSpecification, AttributeSpecification, OrSpecification, Specification
from .visitor import AnySpecification

MAX_JSON = 1_000_000
"""Characters."""
MAX_LEVELS = 32
"""Levels of groups in input; the options of a page may add some more."""

AllowedFields = Collection[str] | Mapping[str, Collection[str | Operator]]
"""Names of fields, or names with the operators that each one allows."""

_CONDITION = {"attribute", "operator", "value"}


class SpecificationFactory:
    """Reader of ``{"and": [{"attribute": "status", "operator": "=", "value": "open"}, ...]}``.

    Untrusted input is safe: only known keys and operators, of bounded depth and size, and no
    fields but ``allowed_fields`` are accepted. Values are checked when their fields are known.
    """

    @staticmethod
    def from_dict(
        data: Mapping[str, object],
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[Operator] = (),
    ) -> Specification:
        """Read a specification.

        Args:
            data: as ``to_dict`` writes it.
            allowed_fields: that the input may name; None allows every field of the model.
            operators: that the input may name besides the portable ones.

        Raises:
            SpecificationError: the input is malformed, too large, or names something else.
        """
        named = {
            normalize_name(spelling): each
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
    def to_dict(specification: Specification) -> dict[str, object]:
        """Return a dict of JSON types; a declared field restores its own type from them."""
        return specification.accept(_Writer())

    @staticmethod
    def to_json(specification: Specification) -> str:
        return to_json(SpecificationFactory.to_dict(specification)).decode()


def read_json(text: str | bytes) -> Any:
    """Parse JSON; raise ``SpecificationError`` if it is too long, invalid, or repeats a key."""
    errors.ensure_limit("characters", MAX_JSON, len(text))
    try:
        return json.loads(text, object_pairs_hook=_build_object, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise errors.SpecificationError(f"not JSON that can be read: {error}") from error


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # A filter in front of the application may have checked the other value of the key.
        keys = errors.shorten([key for key, _ in pairs])
        raise errors.SpecificationError(f"a key is there twice, among {keys}")
    return found


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def ensure_allowed(attribute: object, allowed: AllowedFields | None) -> None:
    """Raise ``UnknownFieldError`` unless the field is allowed; None allows every field."""
    if isinstance(allowed, str):
        raise ConfigError(
            f"allowed_fields takes a list of names, got {allowed!r}; pass [{allowed!r}]"
        )
    if allowed is not None and (not isinstance(attribute, str) or attribute not in allowed):
        raise errors.UnknownFieldError(attribute, list(allowed))


class _Reader:
    def __init__(self, allowed: AllowedFields | None, named: Mapping[str, Operator]) -> None:
        self._allowed = allowed
        self._named = named
        self._operators = (
            {name: _find_operators(name, some) for name, some in allowed.items()}
            if isinstance(allowed, Mapping)
            else None
        )

    def read(self, data: object, depth: int) -> Specification:
        errors.ensure_limit("levels", MAX_LEVELS, depth)
        if isinstance(data, Mapping):
            if len(data) == 1:
                [(key, inner)] = data.items()
                if key in ("and", "or") and isinstance(inner, (list, tuple)):
                    parts = [self.read(each, depth + 1) for each in inner]
                    return AndSpecification(parts) if key == "and" else OrSpecification(parts)
                if key == "not":
                    return ~self.read(inner, depth + 1)
            if {"attribute", "operator"} <= data.keys() <= _CONDITION:
                return self._read_condition(data["attribute"], data["operator"], data.get("value"))
        raise errors.SpecificationError(
            'a specification is {"and": [...]}, {"or": [...]}, {"not": {...}} or {"attribute": '
            f'..., "operator": ..., "value": ...}}, got {errors.shorten(data, 80)}'
        )

    def _read_condition(
        self, attribute: str, spelling: object, value: object
    ) -> AttributeSpecification:
        ensure_allowed(attribute, self._allowed)
        if not isinstance(spelling, str):
            raise errors.UnknownOperatorError(spelling, advice="give the name of one")
        operator = self._named.get(normalize_name(spelling)) or OPERATORS.find(spelling)
        if self._operators is not None and operator not in self._operators[attribute]:
            names = sorted(each.name for each in self._operators[attribute])
            raise errors.UnsupportedOperatorError(
                f"{operator.name} is not allowed for {attribute}; use {', '.join(names)}"
            )
        return AttributeSpecification(attribute, operator, value)


def _find_operators(attribute: str, spellings: Collection[str | Operator]) -> list[Operator]:
    """Look operators up; raise ``ConfigError``, since the developer wrote them."""
    if isinstance(spellings, str):
        raise ConfigError(f"allowed_fields of {attribute} takes a list of operators")
    try:
        return [OPERATORS.find(each) for each in spellings]
    except errors.UnknownOperatorError as error:
        raise ConfigError(f"allowed_fields of {attribute}: {error}") from error


class _Writer:
    def attribute(self, attribute: str, operator: Operator, value: object) -> dict[str, object]:
        condition: dict[str, object] = {"attribute": attribute, "operator": operator.name}
        return condition if value is None else {**condition, "value": to_stored_json(value)}

    def all_of(self, parts: Sequence[dict[str, object]]) -> dict[str, object]:
        return {"and": list(parts)}

    def any_of(self, parts: Sequence[dict[str, object]]) -> dict[str, object]:
        return {"or": list(parts)}

    def negation(self, part: dict[str, object]) -> dict[str, object]:
        return {"not": part}

    def opaque(self, specification: AnySpecification) -> dict[str, object]:
        raise errors.SpecificationError(
            f"{specification!r} is not made of attributes and cannot be written as JSON; build "
            "the same condition with SpecificationBuilder"
        )
