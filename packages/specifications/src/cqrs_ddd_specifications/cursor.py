"""Cursors: positions in an order as URL-safe text, for clients that request the next page."""

from __future__ import annotations

import json
import math
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from . import exceptions as errors
from .json_form import read_json
from .json_values import DURATION

MAX_CURSOR = 4_000
"""Characters of a cursor, so that it fits into a URL."""

_VERSION = 1


def encode_cursor(ordering: tuple[str, ...], values: tuple[object, ...]) -> str:
    """Return the order and the position in it as text of letters, digits, ``-`` and ``_``.

    Raises:
        SpecificationError: a value is too long, or of a type that has no order.
    """
    state = [_VERSION, list(ordering), [_encode(value) for value in values]]
    text = json.dumps(state, separators=(",", ":"))
    cursor = urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    errors.ensure_limit("characters in a cursor", MAX_CURSOR, len(cursor))
    return cursor


def decode_cursor(cursor: object, ordering: tuple[str, ...]) -> tuple[object, ...]:
    """Return the position that ``encode_cursor`` has written for this order.

    Raises:
        InvalidCursorError: the text is not a cursor, or it is one for another order.
    """
    if not isinstance(cursor, str) or not 0 < len(cursor) <= MAX_CURSOR:
        raise errors.InvalidCursorError.malformed()
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        state = read_json(b64decode(padded, altchars=b"-_", validate=True))
        version, given, values = state
        is_cursor = type(version) is int and isinstance(given, list) and isinstance(values, list)
    except (errors.SpecificationError, ValueError, TypeError):
        raise errors.InvalidCursorError.malformed() from None
    if not is_cursor or version != _VERSION:
        raise errors.InvalidCursorError.malformed()
    if given != list(ordering):
        raise errors.InvalidCursorError.of_other_order(ordering, given)
    if len(values) != len(ordering):
        raise errors.InvalidCursorError.malformed()
    return tuple(_decode(value) for value in values)


def _to_finite_decimal(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


def _to_iso_duration(value: timedelta) -> str:
    text: str = DURATION.dump_python(value, mode="json")
    return text


def _to_base64(value: bytes) -> str:
    return urlsafe_b64encode(value).decode()


def _from_base64(text: str) -> bytes:
    return b64decode(text, altchars=b"-_", validate=True)


_TYPES: dict[str, tuple[type, Callable[[Any], str], Callable[[str], object]]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "duration": (timedelta, _to_iso_duration, DURATION.validate_python),
    "decimal": (Decimal, str, _to_finite_decimal),
    "uuid": (UUID, str, UUID),
    "bytes": (bytes, _to_base64, _from_base64),
}
"""Types that JSON lacks, as pairs of a name and text; datetime is a subclass of date."""


def _encode(value: object) -> object:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    for name, (kind, to_text, _) in _TYPES.items():
        if isinstance(value, kind):
            return [name, to_text(value)]
    raise errors.SpecificationValueError(
        f"a cursor cannot hold a {type(value).__name__}; order by text, "
        "numbers, times, UUIDs or bytes"
    )


def _decode(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    try:
        if isinstance(value, list):
            name, text = value
            if isinstance(name, str) and isinstance(text, str):
                return _TYPES[name][2](text)
    except (errors.SpecificationError, ValueError, KeyError, InvalidOperation):
        pass
    raise errors.InvalidCursorError.malformed()
