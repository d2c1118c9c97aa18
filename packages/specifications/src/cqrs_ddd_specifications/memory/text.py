"""``like``, ``contains``, ``startswith`` and ``endswith``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..field_types import FieldType, Kind
from ..operators import (
    CONTAINS,
    ENDSWITH,
    ICONTAINS,
    IENDSWITH,
    ILIKE,
    ISTARTSWITH,
    LIKE,
    STARTSWITH,
    Operator,
)
from ..patterns import Token, Wildcard, folded, parsed
from .check import Check

Test = Callable[[str], bool]


def _checking(
    test_of: Callable[[str], Test], *, is_folded: bool = False
) -> Callable[[str, FieldType], Check]:
    def check(text: str, field_type: FieldType) -> Check:
        test = test_of(folded(text) if is_folded else text)
        is_text = "isinstance({x}, str)" if field_type.kind is not Kind.TEXT else "{x} is not None"
        if is_folded:
            return Check(f"{is_text} and {{v}}({{again}})", lambda actual: test(folded(actual)))
        return Check(f"{is_text} and {{v}}({{again}})", test)

    return check


def _containing(text: str, field_type: FieldType) -> Check:
    is_text = "isinstance({x}, str)" if field_type.kind is not Kind.TEXT else "{x} is not None"
    return Check(f"{is_text} and {{v}} in {{again}}", text)


def _contains(text: str) -> Test:
    return lambda actual: text in actual


def _starts(text: str) -> Test:
    return lambda actual: actual.startswith(text)


def _ends(text: str) -> Test:
    return lambda actual: actual.endswith(text)


def matching(pattern: str) -> Test:
    """Whether a whole text has the form; in time that grows with both lengths only."""
    pieces = _pieces(parsed(pattern))
    first, *others = (re.compile(_expression(piece), re.DOTALL) for piece in pieces)
    if not others:
        return lambda actual: first.fullmatch(actual) is not None
    *middle, last = others
    tail = len(pieces[-1])

    def matches(actual: str) -> bool:
        found = first.match(actual)
        # The leftmost place of each piece leaves the most room for those that follow.
        for piece in middle:
            found = found and piece.search(actual, found.end())
        start = len(actual) - tail
        return bool(found and start >= found.end() and last.match(actual, start))

    return matches


def _pieces(tokens: list[Token]) -> list[list[Token]]:
    pieces: list[list[Token]] = [[]]
    for token in tokens:
        if token is Wildcard.ANY_TEXT:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _expression(piece: list[Token]) -> str:
    return "".join("." if isinstance(token, Wildcard) else re.escape(token) for token in piece)


CHECKS: dict[Operator, Callable[[Any, FieldType], Check]] = {
    LIKE: _checking(matching),
    ILIKE: _checking(matching, is_folded=True),
    CONTAINS: _containing,
    ICONTAINS: _checking(_contains, is_folded=True),
    STARTSWITH: _checking(_starts),
    ISTARTSWITH: _checking(_starts, is_folded=True),
    ENDSWITH: _checking(_ends),
    IENDSWITH: _checking(_ends, is_folded=True),
}
