"""JSON form of specifications: reading untrusted dicts and JSON, and writing them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, NoReturn

from cqrs_ddd_core.primitives.exceptions import ConfigError

from . import exceptions as errors
from .json_values import to_stored_json
from .operators import OPERATORS, Operator, normalize_name
from .visitor import AnySpecification, R, Visitor

MAX_JSON = 1_000_000
"""Characters of JSON that untrusted input may have."""
MAX_LEVELS = 32
"""Levels of groups in untrusted input; ``QueryOptions.after`` may add some more."""

AllowedFields = Collection[str] | Mapping[str, Collection[str | Operator]]
"""Names of allowed fields, or a mapping from each name to the operators allowed for it."""

_CONDITION = {"attribute", "operator", "value"}


def read_json(text: str | bytes) -> Any:
    """Parse JSON; raise ``SpecificationError`` if it is too long or invalid, or repeats a key."""
    errors.ensure_limit("characters", MAX_JSON, len(text))
    try:
        return json.loads(text, object_pairs_hook=_build_object, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise errors.SpecificationError(f"cannot parse the JSON: {error}") from error


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # A proxy that checks requests may have read the other value of the key.
        keys = errors.shorten([key for key, _ in pairs])
        raise errors.SpecificationError(f"a JSON object has a key twice, its keys are {keys}")
    return found


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def ensure_allowed(attribute: object, allowed: AllowedFields | None) -> None:
    """Raise ``UnknownFieldError`` unless the field is allowed; None allows every field."""
    if isinstance(allowed, str):
        raise ConfigError(
            f"allowed_fields takes a list of names, got {allowed!r}; pass [{allowed!r}]"
        )
    if allowed is not None and (not isinstance(attribute, str) or attribute not in allowed):
        raise errors.UnknownFieldError(attribute, list(allowed))


class TreeReader(Generic[R]):
    """Reader of the JSON form, which builds its result with a visitor.

    Args:
        visitor: builds the result.
        allowed: the fields that the input may name, or the operators allowed for each of them.
        operators: operators that the input may name although they are not portable.

    Raises:
        ConfigError: ``allowed`` is malformed or names an unknown operator.
    """

    def __init__(
        self,
        visitor: Visitor[R],
        *,
        allowed: AllowedFields | None = None,
        operators: Collection[Operator] = (),
    ) -> None:
        self._visitor = visitor
        self._allowed = allowed
        self._named = {
            normalize_name(spelling): each
            for each in operators
            for spelling in (each.name, *each.spellings)
        }
        self._operators = (
            {name: _find_operators(name, some) for name, some in allowed.items()}
            if isinstance(allowed, Mapping)
            else None
        )

    def read(self, data: object, depth: int = 1) -> R:
        """Return the result for a dict.

        Raises:
            SpecificationError: the input is malformed, too large, or names a field or an operator
                that is not allowed.
        """
        errors.ensure_limit("levels", MAX_LEVELS, depth)
        group = _split_group(data)
        if group is not None:
            key, steps = group
            parts = [self._read_part(each, step, depth) for step, each in steps.items()]
            if key == "not":
                return self._visitor.negation(parts[0])
            return self._visitor.all_of(parts) if key == "and" else self._visitor.any_of(parts)
        if isinstance(data, Mapping) and {"attribute", "operator"} <= data.keys() <= _CONDITION:
            return self._read_condition(data["attribute"], data["operator"], data.get("value"))
        raise errors.SpecificationError(
            'a specification is {"and": [...]}, {"or": [...]}, {"not": {...}} or {"attribute": '
            f'..., "operator": ..., "value": ...}}, got {errors.describe_data(data)}'
        )

    def find_errors(self, data: object, depth: int = 1) -> list[errors.SpecificationError]:
        """Return the error of each part that ``read`` rejects, in the order of the data."""
        found = list[errors.SpecificationError]()
        group = _split_group(data) if depth <= MAX_LEVELS else None
        for step, part in group[1].items() if group is not None else ():
            for error in self.find_errors(part, depth + 1):
                error.add_step(step)
                found.append(error)
        if not found and (group is None or depth == 1):
            try:
                self.read(data, depth)
            except errors.SpecificationError as error:
                found.append(error)
        return found

    def _read_part(self, data: object, step: str, depth: int) -> R:
        try:
            return self.read(data, depth + 1)
        except errors.SpecificationError as error:
            error.add_step(step)
            raise

    def _read_condition(self, attribute: str, spelling: object, value: object) -> R:
        ensure_allowed(attribute, self._allowed)
        if not isinstance(spelling, str):
            raise errors.UnknownOperatorError(spelling, advice="pass the name of an operator")
        operator = self._named.get(normalize_name(spelling)) or OPERATORS.find(spelling)
        if self._operators is not None and operator not in self._operators[attribute]:
            names = sorted(each.name for each in self._operators[attribute])
            raise errors.UnsupportedOperatorError(
                f"{operator.name} is not allowed for {attribute}; use {', '.join(names)}"
            )
        return self._visitor.attribute(attribute, operator, value)


def _split_group(data: object) -> tuple[str, dict[str, object]] | None:
    """Return the key of a group and its parts by step, or None for other data."""
    if not isinstance(data, Mapping) or len(data) != 1:
        return None
    [(key, inner)] = data.items()
    if key in ("and", "or") and isinstance(inner, (list, tuple)):
        return key, {f"{key}[{place}]": each for place, each in enumerate(inner)}
    return (key, {key: inner}) if key == "not" else None


def _find_operators(attribute: str, spellings: Collection[str | Operator]) -> list[Operator]:
    """Look up operators; raise ``ConfigError``, since the developer wrote the spellings."""
    if isinstance(spellings, str):
        raise ConfigError(f"allowed_fields of {attribute} takes a list of operators")
    try:
        return [OPERATORS.find(each) for each in spellings]
    except errors.UnknownOperatorError as error:
        raise ConfigError(f"allowed_fields of {attribute}: {error}") from error


class TreeWriter:
    """Visitor that writes the JSON form."""

    def attribute(self, attribute: str, operator: Operator, value: object) -> dict[str, object]:
        """Return a condition on one attribute."""
        condition: dict[str, object] = {"attribute": attribute, "operator": operator.name}
        return condition if value is None else {**condition, "value": to_stored_json(value)}

    def all_of(self, parts: Sequence[dict[str, object]]) -> dict[str, object]:
        """Return a conjunction."""
        return {"and": list(parts)}

    def any_of(self, parts: Sequence[dict[str, object]]) -> dict[str, object]:
        """Return a disjunction."""
        return {"or": list(parts)}

    def negation(self, part: dict[str, object]) -> dict[str, object]:
        """Return a negation."""
        return {"not": part}

    def opaque(self, specification: AnySpecification) -> dict[str, object]:
        """Raise ``SpecificationError``."""
        raise errors.SpecificationError(
            f"a {type(specification).__name__} cannot be written as JSON, since it is not "
            "built of attributes; build the same condition with SpecificationBuilder"
        )
