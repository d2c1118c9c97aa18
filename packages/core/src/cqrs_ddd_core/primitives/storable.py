"""Check of ids and names that every database must store unchanged."""

from typing import Any

from .exceptions import SerializationError


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
