"""Parser of ``like`` patterns, shared by every backend."""

from __future__ import annotations

from enum import Enum

from .exceptions import SpecificationValueError


class Wildcard(Enum):
    """Character of a pattern that matches other characters."""

    ANY_TEXT = "%"
    ANY_CHARACTER = "_"


Token = str | Wildcard

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def parse_pattern(pattern: str) -> list[Token]:
    """Split a pattern into characters and wildcards, without the escaping backslashes.

    Raises:
        SpecificationValueError: the pattern ends with a single backslash.
    """
    tokens: list[Token] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise SpecificationValueError(
                    "the pattern ends with \\, which escapes the next character; "
                    "write \\\\ to match a backslash"
                )
            tokens.append(escaped)
        elif character in "%_":
            tokens.append(Wildcard(character))
        else:
            tokens.append(character)
    return tokens


def format_pattern(tokens: list[Token]) -> str:
    """Return the pattern that ``parse_pattern`` splits into these tokens."""
    return "".join(
        token.value if isinstance(token, Wildcard) else f"\\{token}" if token in "\\%_" else token
        for token in tokens
    )


def fold_case(text: str) -> str:
    """Lower the letters A to Z only, so that the result does not depend on a version of Unicode."""
    return text.lower() if text.isascii() else text.translate(_LOWER)
