"""SQL of ``like`` and related operators, regular expressions and full-text search."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from cqrs_ddd_specifications import operators as ops
from cqrs_ddd_specifications import patterns
from cqrs_ddd_specifications.field_types import FieldType

from .comparison import PredicateBuilder
from .dialects import ByCodePoint, ByDialect, Expression, PostgresOnly, Predicate, collate_text

_ANY: list[patterns.Token] = [patterns.Wildcard.ANY_TEXT]
_GLOB = {patterns.Wildcard.ANY_TEXT: "*", patterns.Wildcard.ANY_CHARACTER: "?"}


def _build_match(
    parse: Callable[[str], list[patterns.Token]], *, is_folded: bool = False
) -> PredicateBuilder:
    def build(column: Expression, value: str, field_type: FieldType) -> Predicate:
        tokens = parse(patterns.fold_case(value) if is_folded else value)
        text = collate_text(column, is_ordered=False)
        if is_folded:
            # With collation C, lower() changes A to Z only, as SQLite's lower() always does.
            text = sa.func.lower(ByCodePoint(column))
        return ByDialect(
            text.like(_literal(patterns.format_pattern(tokens))),
            # GLOB, since LIKE ignores case on SQLite.
            text.bool_op("GLOB")(_literal(_format_glob(tokens))),
        )

    return build


def _format_glob(tokens: list[patterns.Token]) -> str:
    return "".join(
        _GLOB[token]
        if isinstance(token, patterns.Wildcard)
        else f"[{token}]"
        if token in "*?["
        else token
        for token in tokens
    )


def _parse_infix(text: str) -> list[patterns.Token]:
    return [*_ANY, *text, *_ANY]


def _parse_prefix(text: str) -> list[patterns.Token]:
    return [*text, *_ANY]


def _parse_suffix(text: str) -> list[patterns.Token]:
    return [*_ANY, *text]


def _build_regex(column: Expression, value: str, field_type: FieldType) -> Predicate:
    return column.regexp_match(_literal(value))


def _build_iregex(column: Expression, value: str, field_type: FieldType) -> Predicate:
    return ByDialect(
        column.bool_op("~*")(_literal(value)), column.regexp_match(_literal(f"(?i:{value})"))
    )


def _build_fts(column: Expression, value: str, field_type: FieldType) -> Predicate:
    query = sa.func.plainto_tsquery(_literal(value))
    return PostgresOnly(sa.func.to_tsvector(column).op("@@")(query))


def _build_fts_phrase(column: Expression, value: str, field_type: FieldType) -> Predicate:
    query = sa.func.phraseto_tsquery(_literal(value))
    return PostgresOnly(sa.func.to_tsvector(column).op("@@")(query))


def _literal(text: str) -> sa.BindParameter[str]:
    return sa.literal(text, sa.Text())


MATCHES: dict[ops.Operator, PredicateBuilder] = {
    ops.LIKE: _build_match(patterns.parse_pattern),
    ops.ILIKE: _build_match(patterns.parse_pattern, is_folded=True),
    ops.CONTAINS: _build_match(_parse_infix),
    ops.ICONTAINS: _build_match(_parse_infix, is_folded=True),
    ops.STARTSWITH: _build_match(_parse_prefix),
    ops.ISTARTSWITH: _build_match(_parse_prefix, is_folded=True),
    ops.ENDSWITH: _build_match(_parse_suffix),
    ops.IENDSWITH: _build_match(_parse_suffix, is_folded=True),
}
SEARCHES: dict[ops.Operator, PredicateBuilder] = {
    ops.REGEX: _build_regex,
    ops.IREGEX: _build_iregex,
    ops.FTS: _build_fts,
    ops.FTS_PHRASE: _build_fts_phrase,
}
"""Operators with a meaning that differs between databases."""
