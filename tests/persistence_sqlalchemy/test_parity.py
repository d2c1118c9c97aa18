"""Tests that a specification finds the same rows in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ColumnElement, literal, not_
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy.specifications import comparison, compiler
from cqrs_ddd_specifications.operators import EQ, IN, LIKE, LT, STARTSWITH
from tests.faults.sizes import PARITY_SEEDS
from tests.persistence_sqlalchemy.parity import compare_with_memory

SEEDS = (17, 41, 2, 6, 44, *range(100, 179))
"""Seeds; the first five generate rare cases, such as a prefix that looks like a pattern."""
SPECIFICATIONS = 100
PAGES = 20


@pytest.mark.long
async def test_random_specifications_find_the_same_rows_in_memory_and_in_the_database(
    engine: AsyncEngine,
) -> None:
    seeds = SEEDS[:PARITY_SEEDS]

    findings = await compare_with_memory(engine, seeds, specifications=SPECIFICATIONS, pages=PAGES)

    assert findings.compared == len(seeds) * (SPECIFICATIONS + PAGES)
    assert findings.rows > 20_000  # Of this database; the full form compares 10,000 cases with it.
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
    "SQL NOT, which keeps NULL": lambda patch: patch.setattr(compiler, "NotTrue", not_),
    "prefix used as a pattern": lambda patch: patch.setitem(
        compiler._BUILDERS, STARTSWITH, _startswith
    ),
    "SQL IN, which never finds NULL": lambda patch: patch.setitem(compiler._BUILDERS, IN, _one_of),
    "= under the collation of the column": lambda patch: patch.setitem(
        compiler._BUILDERS, EQ, _equal
    ),
    "< under the collation of the column": lambda patch: patch.setitem(
        compiler._BUILDERS, LT, _less
    ),
    "missing paths that are not null": lambda patch: patch.setattr(
        comparison, "accepts_none", lambda operator, value: False
    ),
}


@pytest.mark.parametrize("mutate", MUTANTS.values(), ids=MUTANTS)
async def test_parity_check_catches_each_wrong_sql_compiler(
    engine: AsyncEngine, mutate: Mutate, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)

    assert await _has_difference(engine)


# LIKE of PostgreSQL has the meaning of the toolkit.
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_parity_check_catches_a_compiler_that_uses_like_of_sqlite(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(compiler._BUILDERS, LIKE, _like)

    assert await _has_difference(engine)


async def _has_difference(engine: AsyncEngine) -> bool:
    for seed in SEEDS:
        try:
            findings = await compare_with_memory(
                engine, [seed], specifications=SPECIFICATIONS, pages=0
            )
        except StatementError:  # A rejected value is a difference, too.
            return True
        if findings.differences:
            return True
    return False
