"""The patterns of ``like``: read once, for every world."""

from __future__ import annotations

from enum import Enum

from .exceptions import SpecificationValueError


class Wildcard(Enum):
    ANY_TEXT = "%"
    ANY_CHARACTER = "_"


Token = str | Wildcard

_FOLDED = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def parsed(pattern: str) -> list[Token]:
    """Single characters and wildcards; raises ``SpecificationValueError`` for a lone ``\\``."""
    tokens: list[Token] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            taken = next(characters, None)
            if taken is None:
                raise SpecificationValueError(
                    f"the pattern {pattern[:60]!r} ends with \\, which takes the next character as "
                    "it is; write \\\\ for the character itself"
                )
            tokens.append(taken)
        elif character in "%_":
            tokens.append(Wildcard(character))
        else:
            tokens.append(character)
    return tokens


def written(tokens: list[Token]) -> str:
    """The pattern of these tokens."""
    return "".join(
        token.value if isinstance(token, Wildcard) else f"\\{token}" if token in "\\%_" else token
        for token in tokens
    )


def folded(text: str) -> str:
    """A to Z become a to z, and nothing else changes, in any world and any version of Unicode."""
    return text.lower() if text.isascii() else text.translate(_FOLDED)
