"""Tests that killed processes lose, repeat and reorder no message."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests.faults import sizes
from tests.faults.crashing import Place, Tracks, kill_at_random

SEED = 7


@pytest.fixture
async def place(database_url: str, engine: AsyncEngine, tables: Tables, tmp_path: Path) -> Place:
    async with engine.begin() as connection:
        await connection.run_sync(Tracks(tables.schema).metadata.create_all)
    return Place(database_url, tables.schema, tmp_path)


@pytest.mark.long
async def test_killed_writers_relays_and_consumers_lose_and_repeat_no_message(place: Place) -> None:
    findings = await kill_at_random(place, seed=SEED, rounds=sizes.CRASHES)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.committed
    assert findings.faults == 0, findings
