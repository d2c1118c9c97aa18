"""Checks of ``like``, ``contains``, ``startswith``, ``endswith`` and ``regex``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .. import operators as op
from ..exceptions import SpecificationValueError
from ..field_types import FieldType, Kind
from ..patterns import Token, Wildcard, fold_case, parse_pattern
from .comparison import Check, CheckMaker

Matcher = Callable[[str], bool]


def _make_check(match: Callable[[str], Matcher], *, folds_case: bool = False) -> CheckMaker:
    def check(text: str, field_type: FieldType) -> Check:
        matches = match(fold_case(text) if folds_case else text)
        code = f"{_check_type(field_type)} and {{v}}({{again}})"
        return Check(code, (lambda actual: matches(fold_case(actual))) if folds_case else matches)

    return check


def _check_contains(text: str, field_type: FieldType) -> Check:
    return Check(f"{_check_type(field_type)} and {{v}} in {{again}}", text)


def _check_type(field_type: FieldType) -> str:
    return "{x} is not None" if field_type.kind is Kind.TEXT else "isinstance({x}, str)"


def _match_part(text: str) -> Matcher:
    return lambda actual: text in actual


def _match_start(text: str) -> Matcher:
    return lambda actual: actual.startswith(text)


def _match_end(text: str) -> Matcher:
    return lambda actual: actual.endswith(text)


def match_pattern(pattern: str) -> Matcher:
    """Return a matcher of whole texts; its time is bounded by the product of both lengths."""
    pieces = _split(parse_pattern(pattern))
    first, *others = (re.compile(_to_expression(piece), re.DOTALL) for piece in pieces)
    if not others:
        return lambda actual: first.fullmatch(actual) is not None
    *middle, last = others
    tail = len(pieces[-1])

    def matches(actual: str) -> bool:
        found = first.match(actual)
        # The leftmost match of each piece leaves the most text for the pieces after it.
        for piece in middle:
            found = found and piece.search(actual, found.end())
        start = len(actual) - tail
        return bool(found and start >= found.end() and last.match(actual, start))

    return matches


def _split(tokens: list[Token]) -> list[list[Token]]:
    """Split the tokens at each wildcard for any text."""
    pieces: list[list[Token]] = [[]]
    for token in tokens:
        if token is Wildcard.ANY_TEXT:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _to_expression(piece: list[Token]) -> str:
    return "".join("." if isinstance(token, Wildcard) else re.escape(token) for token in piece)


def _describe_fault(error: Exception) -> str:
    """Return the place of the fault, since the pattern may hold a personal value."""
    return f"at position {error.pos}" if isinstance(error, re.error) else "it is too large"


def _make_regex_check(flags: int) -> CheckMaker:
    def check(expression: str, field_type: FieldType) -> Check:
        try:
            search = re.compile(expression, flags).search
        except (re.error, OverflowError, RecursionError) as error:
            raise SpecificationValueError(
                f"the text is not a regular expression: {_describe_fault(error)}"
            ) from None
        return Check.call_unless_none(lambda actual: search(actual) is not None)

    return check


CHECKS: Mapping[op.Operator, CheckMaker] = {
    op.LIKE: _make_check(match_pattern),
    op.ILIKE: _make_check(match_pattern, folds_case=True),
    op.CONTAINS: _check_contains,
    op.ICONTAINS: _make_check(_match_part, folds_case=True),
    op.STARTSWITH: _make_check(_match_start),
    op.ISTARTSWITH: _make_check(_match_start, folds_case=True),
    op.ENDSWITH: _make_check(_match_end),
    op.IENDSWITH: _make_check(_match_end, folds_case=True),
    op.REGEX: _make_regex_check(0),
    op.IREGEX: _make_regex_check(re.IGNORECASE),
}
