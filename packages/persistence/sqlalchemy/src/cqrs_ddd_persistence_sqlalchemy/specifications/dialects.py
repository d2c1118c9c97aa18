"""Expressions that PostgreSQL and SQLite spell differently."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, DateTime, Float, Numeric, Text, cast
from sqlalchemy.dialects.postgresql import CITEXT, JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_specifications.exceptions import UnsupportedOperatorError

_ORDERED_BY_CODE_POINT = ("C", "POSIX", "C.UTF-8", "ucs_basic", "BINARY")
_EXACT_DIGITS_OF_A_FLOAT = 15


class ByDialect(FunctionElement[Any]):
    """One of two expressions, chosen when the statement is compiled."""

    inherit_cache = True

    type = Boolean()

    def __init__(self, postgres: ColumnElement[Any], sqlite: ColumnElement[Any]) -> None:
        super().__init__(postgres, sqlite)


class PostgresOnly(FunctionElement[Any]):
    """An expression that SQLite has nothing for."""

    inherit_cache = True
    type = Boolean()


class NotTrue(FunctionElement[bool]):
    """The exact opposite of a condition: where that is NULL, this is true."""

    inherit_cache = True
    type = Boolean()


class ByCodePoint(FunctionElement[str]):
    """Text that compares as Python's does, whatever the collation of its column or database."""

    inherit_cache = True
    type = Text()


class Document(FunctionElement[Any]):
    """A column of JSON, as jsonb."""

    inherit_cache = True
    type = JSONB()


class Faithful(FunctionElement[Any]):
    """A column whose type SQLite may not keep as it is."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


def faithful(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column; a statement that reads it is refused where the database keeps other values."""
    kind = column.type
    is_doubtful = isinstance(kind, (DateTime, Numeric)) and not isinstance(kind, Float)
    return Faithful(column) if is_doubtful else column


def text_of(column: ColumnElement[Any], *, is_ordered: bool) -> ColumnElement[Any]:
    """The column, in a form that is compared character by character."""
    if isinstance(column.type, CITEXT):
        return cast(column, Text()).collate("C")
    collation = getattr(column.type, "collation", None)
    if collation in _ORDERED_BY_CODE_POINT or not (is_ordered or collation):
        return column
    return ByCodePoint(column)


@compiles(ByDialect, "postgresql")
def _for_postgres(element: ByDialect, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(next(iter(element.clauses)), **options)})"


@compiles(ByDialect, "sqlite")
def _for_sqlite(element: ByDialect, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(list(element.clauses)[1], **options)})"


@compiles(PostgresOnly, "postgresql")
def _only_on_postgres(element: PostgresOnly, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)})"


@compiles(PostgresOnly)
def _not_elsewhere(element: PostgresOnly, compiler: SQLCompiler, **options: Any) -> str:
    raise UnsupportedOperatorError(
        f"{compiler.dialect.name} has no full-text search for ordinary columns; use contains"
    )


@compiles(NotTrue)
def _is_not_true(element: NotTrue, compiler: SQLCompiler, **options: Any) -> str:
    return f"(({compiler.process(element.clauses, **options)}) IS NOT TRUE)"


@compiles(ByCodePoint, "postgresql")
def _with_collation_c(element: ByCodePoint, compiler: SQLCompiler, **options: Any) -> str:
    return f'({compiler.process(element.clauses, **options)} COLLATE "C")'


@compiles(ByCodePoint, "sqlite")
def _with_collation_binary(element: ByCodePoint, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)} COLLATE BINARY)"


@compiles(Document, "postgresql")
def _as_jsonb(element: Document, compiler: SQLCompiler, **options: Any) -> str:
    [column] = element.clauses
    text = compiler.process(column, **options)
    if isinstance(column.type.dialect_impl(compiler.dialect), JSONB):
        return text
    return f"CAST({text} AS JSONB)"


@compiles(Faithful)
def _as_it_is(element: Faithful, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(Faithful, "sqlite")
def _if_kept_by_sqlite(element: Faithful, compiler: SQLCompiler, **options: Any) -> str:
    [column] = element.clauses
    kind = column.type.dialect_impl(compiler.dialect)
    if isinstance(kind, DateTime):
        raise ConfigError(f"SQLite forgets the zone of {column}; give the column UtcDateTime")
    digits = kind.precision if isinstance(kind, Numeric) else 0
    if digits is None or digits > _EXACT_DIGITS_OF_A_FLOAT:
        raise ConfigError(
            f"SQLite keeps {column} as a float, of which {_EXACT_DIGITS_OF_A_FLOAT} digits are "
            "exact; give the column ExactDecimal, or a smaller precision"
        )
    return compiler.process(element.clauses, **options)
