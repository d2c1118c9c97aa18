"""Attributes by their dotted names, such as ``price.amount``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from ..primitives.exceptions import ValidationError


def refuse_unknown_attribute(model: type[BaseModel], path: str) -> None:
    """Raises ``ValidationError`` for what the class does not declare."""
    annotation: Any = model
    for name in path.split("."):
        owner = _owner_in(annotation)
        if owner is None or (issubclass(owner, BaseModel) and name not in owner.model_fields):
            known = owner.model_fields if owner is not None else ()
            raise ValidationError(
                f"{model.__name__} has no attribute {path!r} to order by; "
                f"known here: {', '.join(known) or 'none'}",
                errors={path: ("is not an attribute",)},
            )
        annotation = owner.model_fields[name].annotation if issubclass(owner, BaseModel) else dict


def value_at(candidate: object, path: str) -> Any:
    """None where something on the way is None or missing."""
    value = candidate
    for name in path.split("."):
        held = value.__dict__ if isinstance(value, BaseModel) else value
        value = held.get(name) if isinstance(held, Mapping) else None
    return value


def _owner_in(annotation: Any) -> type[Any] | None:
    """The model or the dict in an annotation, which may be optional."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (BaseModel, Mapping)):
        return kind
    if kind in (list, tuple, set, frozenset):
        return None
    return next(filter(None, map(_owner_in, get_args(annotation))), None)
