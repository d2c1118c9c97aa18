"""Encoding of values as JSON, and checks that a model survives its JSON form."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin

import pydantic
from pydantic_core import PydanticSerializationError, from_json, to_json

from ..primitives.exceptions import SerializationError

_SECRETS = (pydantic.Secret, pydantic.SecretBytes, pydantic.SecretStr)


def encode_json(value: Any, subject: str, *, type_name: str, allow_nan: bool = False) -> bytes:
    """Encode a value as JSON.

    Databases reject NaN and infinity, which JSON does not have.

    Args:
        value: value to encode.
        subject: description of the value for the error.
        type_name: type of the value for the error.
        allow_nan: True to accept NaN and infinity.

    Raises:
        SerializationError: the value, or a part of it, has no JSON form.
    """
    try:
        encoded = to_json(value, inf_nan_mode="constants")
        if not allow_nan and (b"NaN" in encoded or b"Infinity" in encoded):
            from_json(encoded, allow_inf_nan=False)  # A text may contain the word.
    except (PydanticSerializationError, ValueError) as error:
        raise SerializationError.not_json(subject, error, type_name=type_name) from error
    return encoded


def list_lossy_attributes(model: type[pydantic.BaseModel]) -> list[str]:
    """List the attributes of a model, and of models inside it, that its JSON omits or masks."""
    return list(_iterate_lossy(model, "", {model}))


def has_equal_state(one: object, other: object) -> bool:
    """Return whether class and fields are equal; ``__eq__`` of the class is not used.

    Private attributes do not belong to the state.
    """
    return type(one) is type(other) and _get_state(one) == _get_state(other)


def _get_state(value: Any) -> object:
    if isinstance(value, pydantic.BaseModel):
        return value.__dict__
    if is_dataclass(value):
        return [getattr(value, each.name) for each in fields(value)]
    return value


def describe_reason(error: Exception) -> str:
    """Describe an error for a log, without the values, which may be personal."""
    if not isinstance(error, pydantic.ValidationError):
        return type(error).__name__
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return ", ".join(
        f"{each['loc'][0] if each['loc'] else 'all'}: {each['type']}" for each in found
    )


def extract_shape(schema: Any) -> Any:
    """Return a JSON schema without its texts, so that rewording a docstring changes nothing."""
    if isinstance(schema, list):
        return [extract_shape(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    shape: dict[str, Any] = {}
    for name, part in schema.items():
        if name in ("properties", "$defs"):  # The keys are names of the application.
            shape[name] = {each: extract_shape(inner) for each, inner in part.items()}
        elif name not in ("title", "description", "examples"):
            shape[name] = part if name in ("default", "const", "enum") else extract_shape(part)
    return shape


def _iterate_lossy(model: type[pydantic.BaseModel], before: str, seen: set[type]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kinds = set(_iterate_classes(field.annotation))
        if field.exclude or any(issubclass(kind, _SECRETS) for kind in kinds):
            yield f"{before}{name}"
        for kind in kinds - seen:
            if issubclass(kind, pydantic.BaseModel):
                seen.add(kind)
                yield from _iterate_lossy(kind, f"{before}{name}.", seen)


def _iterate_classes(annotation: Any) -> Iterator[type]:
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type):
        yield kind
    for part in get_args(annotation):
        yield from _iterate_classes(part)
