"""Patterns of ``like``, parsed in one place for every backend."""

from __future__ import annotations

from enum import Enum

from .exceptions import SpecificationValueError


class Wildcard(Enum):
    """Character of a pattern that stands for others."""

    ANY_TEXT = "%"
    ANY_CHARACTER = "_"


Token = str | Wildcard

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def parse_pattern(pattern: str) -> list[Token]:
    """Split into characters and wildcards; raise ``SpecificationValueError`` for a lone ``\\``."""
    tokens: list[Token] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise SpecificationValueError(
                    f"the pattern {pattern[:60]!r} ends with \\, which takes the next character as "
                    "it is; write \\\\ for the character itself"
                )
            tokens.append(escaped)
        elif character in "%_":
            tokens.append(Wildcard(character))
        else:
            tokens.append(character)
    return tokens


def format_pattern(tokens: list[Token]) -> str:
    """Return the pattern of these tokens."""
    return "".join(
        token.value if isinstance(token, Wildcard) else f"\\{token}" if token in "\\%_" else token
        for token in tokens
    )


def fold_case(text: str) -> str:
    """Lower A to Z and nothing else, so that the result depends on no version of Unicode."""
    return text.lower() if text.isascii() else text.translate(_LOWER)
