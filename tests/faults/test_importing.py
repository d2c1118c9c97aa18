"""Tests that an order import which was killed any number of times ends with the same report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases import new_database
from tests.faults.importing import Environment, create_file_settings, kill_at_random
from tests.faults.sizes import IMPORT_CRASHES

SEED = 11


@pytest.mark.long
@pytest.mark.slow
def test_killed_order_imports_end_with_the_same_report(postgres_url: str, tmp_path: Path) -> None:
    next_file = create_file_settings(tmp_path)

    def next_database(number: int) -> Environment:
        # The style alternates with each import, so that each style is used with each database.
        if number % 4 < 2:
            return next_file(number)
        return {"DATABASE_URL": new_database(postgres_url)}

    findings = kill_at_random(tmp_path, next_database, seed=SEED, kills=IMPORT_CRASHES)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.kills == IMPORT_CRASHES
    assert findings.imports
    assert findings.resumed
    assert findings.faults == 0, findings


@pytest.mark.slow
def test_kill_check_catches_a_consumer_without_an_inbox_that_counts_twice(tmp_path: Path) -> None:
    findings = kill_at_random(
        tmp_path, create_file_settings(tmp_path), seed=SEED, kills=50, is_naive=True
    )

    assert findings.other_reports, findings
