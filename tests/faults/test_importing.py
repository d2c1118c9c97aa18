"""The order system ends with the same report, however often it was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.databases import new_database
from tests.faults.importing import Environment, files_in, kill_at_random

SEED = 11


@pytest.fixture(params=["sqlite", "postgresql"])
def next_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Environment]:
    if request.param == "sqlite":
        return files_in(tmp_path)
    server = request.getfixturevalue("postgres_url")
    return lambda number: {"DATABASE_URL": new_database(server)}


@pytest.mark.slow
def test_fifty_kills_change_nothing_in_the_report(
    next_database: Callable[[int], Environment], tmp_path: Path
) -> None:
    findings = kill_at_random(tmp_path, next_database, seed=SEED, kills=50)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.kills == 50
    assert findings.resumed
    assert findings.faults == 0, findings


@pytest.mark.slow
def test_a_consumer_without_an_inbox_counts_twice(tmp_path: Path) -> None:
    findings = kill_at_random(tmp_path, files_in(tmp_path), seed=SEED, kills=50, is_naive=True)

    assert findings.other_reports, findings
