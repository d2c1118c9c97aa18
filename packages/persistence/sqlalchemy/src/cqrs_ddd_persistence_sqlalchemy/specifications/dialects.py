"""Expressions that PostgreSQL and SQLite spell differently."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from cqrs_ddd_core import ConfigError
from cqrs_ddd_specifications.exceptions import UnsupportedOperatorError

Expression = sa.ColumnElement[Any]
Predicate = sa.ColumnElement[bool]

_ORDERED_BY_CODE_POINT = ("C", "POSIX", "C.UTF-8", "ucs_basic", "BINARY")
_EXACT_FLOAT_DIGITS = 15


class ByDialect(FunctionElement[Any]):
    """One of two expressions, chosen when the statement is compiled.

    Args:
        postgres: expression for PostgreSQL.
        sqlite: expression for SQLite.
    """

    inherit_cache = True
    type = sa.Boolean()

    def __init__(self, postgres: Expression, sqlite: Expression) -> None:
        super().__init__(postgres, sqlite)


class PostgresOnly(FunctionElement[Any]):
    """Expression without a counterpart on SQLite."""

    inherit_cache = True
    type = sa.Boolean()


class NotTrue(FunctionElement[bool]):
    """Exact opposite of a condition: true if the condition is false or NULL."""

    inherit_cache = True
    type = sa.Boolean()


class ByCodePoint(FunctionElement[str]):
    """Text that compares as in Python, regardless of the collation of its column or database."""

    inherit_cache = True
    type = sa.Text()


class Document(FunctionElement[Any]):
    """JSON column, as jsonb."""

    inherit_cache = True
    type = postgresql.JSONB()


class Faithful(FunctionElement[Any]):
    """Column of a type that SQLite may store inexactly.

    Args:
        column: the column.
    """

    inherit_cache = True

    def __init__(self, column: Expression) -> None:
        super().__init__(column)
        self.type = column.type


def ensure_faithful(column: Expression) -> Expression:
    """Return the column in a form that fails to compile if the database would change values."""
    kind = column.type
    is_doubtful = isinstance(kind, (sa.DateTime, sa.Numeric)) and not isinstance(kind, sa.Float)
    return Faithful(column) if is_doubtful else column


def collate_text(column: Expression, *, is_ordered: bool) -> Expression:
    """Return a text column in a form that compares character by character."""
    if isinstance(column.type, postgresql.CITEXT):
        return sa.cast(column, sa.Text()).collate("C")
    collation = getattr(column.type, "collation", None)
    if collation in _ORDERED_BY_CODE_POINT or not (is_ordered or collation):
        return column
    return ByCodePoint(column)


def _compile_as(template: str, kind: type[FunctionElement[Any]], *dialects: str) -> None:
    @compiles(kind, *dialects)
    def compile_element(element: FunctionElement[Any], compiler: SQLCompiler, **kw: object) -> str:
        return template.format(compiler.process(element.clauses, **kw))


_compile_as("({})", PostgresOnly, "postgresql")
_compile_as("(({}) IS NOT TRUE)", NotTrue)
_compile_as('({} COLLATE "C")', ByCodePoint, "postgresql")
_compile_as("({} COLLATE BINARY)", ByCodePoint, "sqlite")
_compile_as("{}", Faithful)


@compiles(ByDialect)
def _compile_by_dialect(element: ByDialect, compiler: SQLCompiler, **kw: object) -> str:
    postgres, sqlite = element.clauses
    chosen = postgres if compiler.dialect.name == "postgresql" else sqlite
    return f"({compiler.process(chosen, **kw)})"


@compiles(PostgresOnly)
def _reject_postgres_only(element: PostgresOnly, compiler: SQLCompiler, **kw: object) -> str:
    raise UnsupportedOperatorError(
        f"{compiler.dialect.name} does not support full-text search of plain columns; use contains"
    )


@compiles(Document, "postgresql")
def _compile_document(element: Document, compiler: SQLCompiler, **kw: object) -> str:
    [column] = element.clauses
    text = compiler.process(column, **kw)
    is_jsonb = isinstance(column.type.dialect_impl(compiler.dialect), postgresql.JSONB)
    return text if is_jsonb else f"CAST({text} AS JSONB)"


@compiles(Faithful, "sqlite")
def _compile_faithful(element: Faithful, compiler: SQLCompiler, **kw: object) -> str:
    [column] = element.clauses
    kind = column.type.dialect_impl(compiler.dialect)
    if isinstance(kind, sa.DateTime):
        raise ConfigError(f"SQLite drops the time zone of {column}; use UtcDateTime")
    digits = kind.precision if isinstance(kind, sa.Numeric) else 0
    if digits is None or digits > _EXACT_FLOAT_DIGITS:
        raise ConfigError(
            f"SQLite stores {column} as a float with {_EXACT_FLOAT_DIGITS} exact digits; "
            "use ExactDecimal, or a smaller precision"
        )
    return compiler.process(element.clauses, **kw)
