"""Whoever is killed over a projection, its view is what the events make: nothing twice, nothing
lost, everything in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests.faults.crashing import Place
from tests.faults.naive_positions import Kind, MovesAfter, MovesBefore
from tests.faults.projecting import kill_at_random
from tests.faults.selling import Market

SEED = 4_711
KILLS, FEWER = 10, 6


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


async def test_the_view_of_killed_workers_is_what_the_events_make(place: Place) -> None:
    findings = await kill_at_random(place, seed=SEED, kills=KILLS, market=Market())

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.kills
    assert findings.faults == 0, findings


@pytest.mark.parametrize("kind", [MovesBefore, MovesAfter])
async def test_a_checkpoint_in_a_transaction_of_its_own_is_caught(place: Place, kind: Kind) -> None:
    market = Market(events=300)

    findings = await kill_at_random(place, seed=SEED, kills=FEWER, market=market, kind=kind)

    assert findings.faults, findings


async def test_a_poisoned_stream_waits_through_kills_and_is_taken_after_the_repair(
    place: Place,
) -> None:
    market = Market(events=500, has_poison=True)

    findings = await kill_at_random(place, seed=SEED, kills=FEWER, market=market)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.kills
    assert findings.faults == 0, findings
