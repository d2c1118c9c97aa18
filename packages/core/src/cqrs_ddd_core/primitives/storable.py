"""Checks of ids, names, numbers and times that every database must store unchanged."""

from datetime import MAXYEAR, MINYEAR, datetime, timezone
from typing import Any

from .exceptions import SerializationError

MAX_INTEGER = 2**63 - 1
"""Largest integer of a database column."""
_INFINITE = (datetime.min, datetime.max)


def ensure_storable(subject: str, *ids: Any) -> None:
    """Raise ``SerializationError`` unless all ids and names are texts that databases keep.

    PostgreSQL rejects NUL, and no driver can encode a lone surrogate.
    """
    try:
        joined = "".join(ids)  # One check for all ids, since each event has half a dozen.
        if joined.isascii() and "\0" not in joined:
            return
    except TypeError:
        pass
    for each in ids:
        if not is_storable(each):
            raise SerializationError(
                f"{subject} has {each!r} as an id or a name, and some databases change or reject "
                "it; give it a text without NUL and without lone surrogates",
                type_name=subject,
            )


def ensure_storable_time(subject: str, field: str, time: datetime) -> None:
    """Raise ``SerializationError`` for a time that PostgreSQL would return as infinity.

    These are the first and the last ``datetime`` in UTC, and times outside of the years 1 to 9999
    in UTC.
    """
    if MINYEAR < time.year < MAXYEAR:
        return
    try:
        is_finite = time.astimezone(timezone.utc).replace(tzinfo=None) not in _INFINITE
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise SerializationError(
            f"{field} of {subject} is {time.isoformat()}, which some databases return as infinity; "
            "give it the time at which it happened",
            type_name=subject,
            field=field,
        )


def is_storable(text: object) -> bool:
    """Return whether every database stores the object as a text, unchanged."""
    if not isinstance(text, str) or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_storable(text: str) -> str:
    """Return the text with a mark for each character that some databases reject."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def clamp_integer(number: int) -> int:
    """Return the nearest integer that a database column can hold.

    A bound of a query beyond all stored numbers then finds the same as in Python.
    """
    return max(-MAX_INTEGER - 1, min(number, MAX_INTEGER))
