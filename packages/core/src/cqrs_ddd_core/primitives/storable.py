"""Checks of ids, names and numbers that every database must store unchanged."""

from typing import Any

from .exceptions import SerializationError

MAX_INTEGER = 2**63 - 1
"""Largest integer of a database column."""


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
