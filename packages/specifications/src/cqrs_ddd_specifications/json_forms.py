"""Values as JSON has them: asked for, written down, and kept in a column."""

from __future__ import annotations

import math
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Set
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_jsonable_python

from .exceptions import SpecificationLimitError, SpecificationValueError, shown

MAX_DOCUMENT_DEPTH = 32

_INTEGERS = 2**63


def json_form(value: Any, asked_by: str, depth: int = 1) -> Any:
    """A copy that JSON keeps as it is: UUIDs and enums become what JSON has for them."""
    if depth > MAX_DOCUMENT_DEPTH:
        raise SpecificationLimitError("levels of JSON", MAX_DOCUMENT_DEPTH, depth)
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_INTEGERS <= value < _INTEGERS:
        return int(value)
    if isinstance(value, str):
        refuse_unstorable(value)
        return str(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        value = _float_of(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {_key(key): json_form(each, asked_by, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_form(each, asked_by, depth + 1) for each in value]
    raise SpecificationValueError(
        f"{asked_by} takes what JSON has a form for, got {type(value).__name__} {shown(value)}; "
        "what is kept in a column of its own can be asked for by its type"
    )


def written_form(value: Any, depth: int = 1) -> Any:
    """What JSON has for a value that is asked for, so that a field makes the same of it again."""
    if depth > MAX_DOCUMENT_DEPTH:
        raise SpecificationLimitError("levels of JSON", MAX_DOCUMENT_DEPTH, depth)
    if isinstance(value, Mapping):
        return {_key(key): written_form(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return [written_form(each, depth + 1) for each in value]
    if isinstance(value, str):
        refuse_unstorable(value)
    if isinstance(value, bytes):
        return urlsafe_b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        number = _float_of(value)
        return number if isinstance(number, float) else str(number)
    try:
        if isinstance(value, (float, Decimal)) and not math.isfinite(value):
            raise ValueError(value)
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError) as error:
        raise SpecificationValueError(
            f"JSON has no form for {type(value).__name__} {shown(value)}"
        ) from error


def _float_of(value: Decimal) -> float | Decimal:
    """The same number as a float, if there is one that is written like it."""
    number = float(value) if value.is_finite() else math.nan
    return number if math.isfinite(number) and Decimal(repr(number)) == value else value


def stored_form(value: Any) -> Any:
    """What JSON keeps of the value of a field."""
    return value if value is None or type(value) in (str, int, bool) else to_jsonable_python(value)


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise SpecificationValueError(f"the keys of JSON are text, got {shown(key)}")
    refuse_unstorable(key)
    return key


def refuse_unstorable(text: str) -> None:
    """Raises ``SpecificationValueError`` for what databases do not keep."""
    if "\x00" in text:
        raise SpecificationValueError("a text with the character NUL is kept by no database")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SpecificationValueError(
            "a text with half a surrogate pair is kept by no database"
        ) from error
