"""Check of ids and names that every database has to keep unchanged."""

from __future__ import annotations

from typing import Any

from .exceptions import SerializationError


def ensure_storable(subject: str, *ids: Any) -> None:
    """Raise ``SerializationError`` unless all ids and names are texts that databases keep.

    PostgreSQL rejects NUL, and no driver can encode a lone surrogate.
    """
    try:
        joined = "".join(ids)  # One check for all, since each event has half a dozen.
    except TypeError:
        joined = "\0"
    if not _is_kept(joined):
        bad = next(each for each in ids if not (isinstance(each, str) and _is_kept(each)))
        raise SerializationError.unstorable_id(subject, bad)


def _is_kept(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
