"""``like``, ``contains``, ``startswith`` and ``endswith``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Text, func, literal

from cqrs_ddd_specifications.field_types import FieldType
from cqrs_ddd_specifications.operators import (
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
from cqrs_ddd_specifications.patterns import (
    Token,
    Wildcard,
    fold_case,
    format_pattern,
    parse_pattern,
)

from .comparison import Condition
from .dialects import ByCodePoint, ByDialect, text_of

_ANY: list[Token] = [Wildcard.ANY_TEXT]
_GLOB = {Wildcard.ANY_TEXT: "*", Wildcard.ANY_CHARACTER: "?"}


def _matching(tokens_of: Callable[[str], list[Token]], *, is_folded: bool = False) -> Condition:
    def condition(
        column: ColumnElement[Any], value: str, field_type: FieldType
    ) -> ColumnElement[bool]:
        tokens = tokens_of(fold_case(value) if is_folded else value)
        text = text_of(column, is_ordered=False)
        if is_folded:
            # With collation C, lower() knows A to Z and nothing else; so does SQLite's.
            text = func.lower(ByCodePoint(column))
        return ByDialect(
            text.like(literal(format_pattern(tokens), Text())),
            # LIKE ignores case on SQLite.
            text.op("GLOB", is_comparison=True)(literal(_glob(tokens), Text())),
        )

    return condition


def _glob(tokens: list[Token]) -> str:
    return "".join(
        _GLOB[token] if isinstance(token, Wildcard) else f"[{token}]" if token in "*?[" else token
        for token in tokens
    )


def _somewhere(text: str) -> list[Token]:
    return [*_ANY, *text, *_ANY]


def _at_the_start(text: str) -> list[Token]:
    return [*text, *_ANY]


def _at_the_end(text: str) -> list[Token]:
    return [*_ANY, *text]


CONDITIONS: dict[Operator, Condition] = {
    LIKE: _matching(parse_pattern),
    ILIKE: _matching(parse_pattern, is_folded=True),
    CONTAINS: _matching(_somewhere),
    ICONTAINS: _matching(_somewhere, is_folded=True),
    STARTSWITH: _matching(_at_the_start),
    ISTARTSWITH: _matching(_at_the_start, is_folded=True),
    ENDSWITH: _matching(_at_the_end),
    IENDSWITH: _matching(_at_the_end, is_folded=True),
}
