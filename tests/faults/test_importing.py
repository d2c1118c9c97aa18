"""The order system ends with the same report, however often it was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases import new_database
from tests.faults.importing import Environment, files_in, kill_at_random

SEED = 11


@pytest.mark.slow
def test_fifty_kills_change_nothing_in_the_report(postgres_url: str, tmp_path: Path) -> None:
    on_sqlite = files_in(tmp_path)

    def next_database(number: int) -> Environment:
        # The style alternates with each import, so each of them meets each database.
        if number % 4 < 2:
            return on_sqlite(number)
        return {"DATABASE_URL": new_database(postgres_url)}

    findings = kill_at_random(tmp_path, next_database, seed=SEED, kills=50)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.kills == 50
    assert findings.imports > 3
    assert findings.resumed
    assert findings.faults == 0, findings


@pytest.mark.slow
def test_a_consumer_without_an_inbox_counts_twice(tmp_path: Path) -> None:
    findings = kill_at_random(tmp_path, files_in(tmp_path), seed=SEED, kills=50, is_naive=True)

    assert findings.other_reports, findings
