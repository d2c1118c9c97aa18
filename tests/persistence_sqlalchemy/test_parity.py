"""A specification finds the same in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ColumnElement, literal, not_
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy.specifications import comparison, compiler
from cqrs_ddd_specifications.operators import EQ, IN, LIKE, LT, STARTSWITH
from tests.persistence_sqlalchemy.parity import compared

SEEDS = (47, 20, 33, 5, 10, *range(5))
"""At first those that ask for what is rare, such as a prefix that looks like a pattern."""
SPECIFICATIONS = 100
PAGES = 20


async def test_random_specifications_and_pages_find_what_they_find_in_memory(
    engine: AsyncEngine,
) -> None:
    findings = await compared(engine, SEEDS, specifications=SPECIFICATIONS, pages=PAGES)

    assert findings.compared == len(SEEDS) * (SPECIFICATIONS + PAGES)
    assert findings.differences == []


def _like(column: Any, value: Any, field_type: Any) -> ColumnElement[bool]:
    return column.like(value)  # type: ignore[no-any-return]


def _startswith(column: Any, value: Any, field_type: Any) -> ColumnElement[bool]:
    return column.startswith(value)  # type: ignore[no-any-return]


def _one_of(column: Any, values: Any, field_type: Any) -> ColumnElement[bool]:
    return column.in_(values)  # type: ignore[no-any-return]


def _equal(column: Any, value: Any, field_type: Any) -> ColumnElement[bool]:
    return column == literal(value, column.type)  # type: ignore[no-any-return]


def _less(column: Any, value: Any, field_type: Any) -> ColumnElement[bool]:
    return column < literal(value, column.type)  # type: ignore[no-any-return]


Mutate = Callable[[pytest.MonkeyPatch], None]

MUTANTS: dict[str, Mutate] = {
    "NOT of SQL, which keeps NULL": lambda patch: patch.setattr(compiler, "NotTrue", not_),
    "LIKE of the database": lambda patch: patch.setitem(compiler._BUILDERS, LIKE, _like),
    "a prefix that is a pattern": lambda patch: patch.setitem(
        compiler._BUILDERS, STARTSWITH, _startswith
    ),
    "IN of SQL, which never finds NULL": lambda patch: patch.setitem(
        compiler._BUILDERS, IN, _one_of
    ),
    "= under the collation of the column": lambda patch: patch.setitem(
        compiler._BUILDERS, EQ, _equal
    ),
    "< under the collation of the column": lambda patch: patch.setitem(
        compiler._BUILDERS, LT, _less
    ),
    "paths that lead nowhere are not null": lambda patch: patch.setattr(
        comparison, "accepts_none", lambda operator, value: False
    ),
}


@pytest.mark.parametrize("mutate", MUTANTS.values(), ids=MUTANTS)
async def test_a_naive_compiler_finds_something_else(
    engine: AsyncEngine, mutate: Mutate, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mutate is MUTANTS["LIKE of the database"] and engine.dialect.name == "postgresql":
        return  # There it is what we mean.
    mutate(monkeypatch)

    assert await _is_different_somewhere(engine)


async def _is_different_somewhere(engine: AsyncEngine) -> bool:
    for seed in SEEDS:
        try:
            findings = await compared(engine, [seed], specifications=SPECIFICATIONS, pages=0)
        except StatementError:  # A value that is refused is a difference as well.
            return True
        if findings.differences:
            return True
    return False
