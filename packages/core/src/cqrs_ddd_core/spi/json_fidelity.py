"""Encoding of values as JSON, and shapes of classes."""

import re
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from ..primitives.exceptions import ConcealedError, SerializationError

_LONG_NUMBER = re.compile(rb"\d{4301}")
"""Number with more digits than Python and pydantic read."""


def encode_json(value: Any, subject: str, *, type_name: str, allow_nan: bool = False) -> bytes:
    """Encode a value as JSON.

    Databases reject NaN and infinity, which JSON does not have. No reader accepts an integer of
    more than 4,300 digits.

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
        is_long = len(encoded) > 4300 and _LONG_NUMBER.search(encoded)
        if is_long or (not allow_nan and (b"NaN" in encoded or b"Infinity" in encoded)):
            from_json(encoded, allow_inf_nan=allow_nan)  # A text may contain the word.
    except (PydanticSerializationError, ValueError) as error:
        raise SerializationError.not_json(subject, error, type_name=type_name) from ConcealedError(
            error
        )
    return encoded


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
