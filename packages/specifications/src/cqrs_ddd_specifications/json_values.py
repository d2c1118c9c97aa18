"""Conversion of values to JSON: operands, serialised specifications and JSON columns."""

from __future__ import annotations

import math
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from cqrs_ddd_core.primitives.exceptions import ConcealedError

from .exceptions import SpecificationValueError, ensure_limit, shorten

MAX_DOCUMENT_DEPTH = 32
DURATION = TypeAdapter(timedelta)
"""Reader and writer of durations as ISO 8601 text, such as ``P9D``."""

_INTEGERS = 2**63


def to_document(value: object, asked_by: str, depth: int = 1) -> object:
    """Return a copy that JSON preserves: UUIDs and enums become text or numbers.

    Raises:
        SpecificationValueError: JSON cannot represent a value without loss.
    """
    ensure_limit("levels of JSON", MAX_DOCUMENT_DEPTH, depth)
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_INTEGERS <= value < _INTEGERS:
        return int(value)
    if isinstance(value, str):
        return str(ensure_storable(value))
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        value = _to_exact_float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {_to_key(key): to_document(each, asked_by, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_document(each, asked_by, depth + 1) for each in value]
    raise SpecificationValueError(
        f"{asked_by} takes JSON values, got a {type(value).__name__}; map the "
        "field to a column of its own to compare by its type"
    )


def to_stored_json(value: object, depth: int = 1) -> Any:
    """Return the operand of a specification as JSON that its field can convert back."""
    ensure_limit("levels of JSON", MAX_DOCUMENT_DEPTH, depth)
    if isinstance(value, Mapping):
        return {_to_key(key): to_stored_json(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return [to_stored_json(each, depth + 1) for each in value]
    if isinstance(value, str):
        ensure_storable(value)
    if isinstance(value, bytes):
        return urlsafe_b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        number = _to_exact_float(value)
        return number if isinstance(number, float) else str(number)
    try:
        if isinstance(value, (float, Decimal)) and not math.isfinite(value):
            raise ValueError(value)
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError) as error:
        raise SpecificationValueError(
            f"JSON cannot represent a value of the type {type(value).__name__}"
        ) from ConcealedError(error)


def to_field_json(value: object) -> object:
    """Return the value of a field as a JSON column stores it."""
    return value if value is None or type(value) in (str, int, bool) else to_jsonable_python(value)


def ensure_storable(text: str) -> str:
    """Return the text; raise ``SpecificationValueError`` if databases cannot store it."""
    if "\x00" in text:
        raise SpecificationValueError(
            "text with the character NUL cannot be stored in a database; remove the character"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SpecificationValueError(
            "text with half a surrogate pair cannot be stored in a database; remove the character"
        ) from error
    return text


def _to_exact_float(value: Decimal) -> float | Decimal:
    """Return the float with the same decimal digits, or the Decimal itself if none has them."""
    number = float(value) if value.is_finite() else math.nan
    return number if math.isfinite(number) and Decimal(repr(number)) == value else value


def _to_key(key: object) -> str:
    if not isinstance(key, str):
        raise SpecificationValueError(f"keys of JSON objects must be text, got {shorten(key)}")
    return ensure_storable(key)
