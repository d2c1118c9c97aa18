"""Attributes by their dotted names, such as ``price.amount``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic import ValidationError as PydanticValidationError

from ..primitives.exceptions import ValidationError

_SECRETS = (Secret, SecretBytes, SecretStr)
_WITHOUT_ORDER: Mapping[type[Any], str] = {
    Enum: "an enum",
    BaseModel: "an object of several values",
    Mapping: "a dict",
    Collection: "a collection",
}


def refuse_unordered_attribute(model: type[BaseModel], path: str) -> None:
    """Raises ``ValidationError`` for what the class does not declare, and what has no order."""
    found = _without_order(_annotation_at(model, path))
    if found is not None:
        raise ValidationError(
            f"{model.__name__} cannot be ordered by {path!r}: {found} has no order; order by a "
            "text, a number or a time",
            errors={path: ("has no order",)},
        )


def value_at(candidate: object, path: str) -> Any:
    """None where something on the way is None or missing."""
    value = candidate
    for name in path.split("."):
        held = value.__dict__ if isinstance(value, BaseModel) else value
        value = held.get(name) if isinstance(held, Mapping) else None
    return value


def attributes_lost_in_json(model: type[BaseModel]) -> list[str]:
    """What a model, or one inside it, leaves out of its JSON or masks there."""
    return list(_lost(model, "", {model}))


def holds_the_same(one: object, other: object) -> bool:
    """Whether all their attributes are equal, whatever their class calls equal."""
    return type(one) is type(other) and _held_by(one) == _held_by(other)


def _held_by(value: Any) -> object:
    if isinstance(value, BaseModel):
        return value.__dict__, value.__pydantic_private__
    if is_dataclass(value):
        return [getattr(value, each.name) for each in fields(value)]
    return value


def reason_of(error: Exception) -> str:
    """What went wrong, for a log: without the values, which may be personal."""
    if not isinstance(error, PydanticValidationError):
        return type(error).__name__
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return ", ".join(
        f"{each['loc'][0] if each['loc'] else 'all'}: {each['type']}" for each in found
    )


def shape_in(schema: Any) -> Any:
    """A JSON schema without its words: rewording a docstring makes no other shape."""
    if isinstance(schema, list):
        return [shape_in(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    shape: dict[str, Any] = {}
    for name, part in schema.items():
        if name in ("properties", "$defs"):  # What they hold has names of ours.
            shape[name] = {each: shape_in(inner) for each, inner in part.items()}
        elif name not in ("title", "description", "examples"):
            shape[name] = part if name in ("default", "const", "enum") else shape_in(part)
    return shape


def _annotation_at(model: type[BaseModel], path: str) -> Any:
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
        annotation = owner.model_fields[name].annotation if issubclass(owner, BaseModel) else Any
    return annotation


def _owner_in(annotation: Any) -> type[Any] | None:
    """The model or the dict in an annotation, which may be optional."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (BaseModel, Mapping)):
        return kind
    if kind in (list, tuple, set, frozenset):
        return None
    return next(filter(None, map(_owner_in, get_args(annotation))), None)


def _without_order(annotation: Any) -> str | None:
    """What an annotation, which may be optional, holds that cannot be sorted by."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type):
        for unordered, what in _WITHOUT_ORDER.items():
            if issubclass(kind, unordered) and not (
                unordered is Collection and issubclass(kind, (str, bytes))
            ):
                return what
    return next(filter(None, map(_without_order, get_args(annotation))), None)


def _lost(model: type[BaseModel], before: str, seen: set[type[Any]]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kinds = set(_classes_in(field.annotation))
        if field.exclude or any(issubclass(kind, _SECRETS) for kind in kinds):
            yield f"{before}{name}"
        for kind in kinds - seen:
            if issubclass(kind, BaseModel):
                seen.add(kind)
                yield from _lost(kind, f"{before}{name}.", seen)


def _classes_in(annotation: Any) -> Iterator[type[Any]]:
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type):
        yield kind
    for part in get_args(annotation):
        yield from _classes_in(part)
