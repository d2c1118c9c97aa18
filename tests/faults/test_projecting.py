"""Tests that the documents of killed projection workers equal a replay of the events."""

from __future__ import annotations

from pathlib import Path

import pytest

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests.faults import sizes
from tests.faults.crashing import Place
from tests.faults.naive_positions import EarlyCheckpointStore, Kind, LateCheckpointStore
from tests.faults.projecting import kill_at_random
from tests.faults.selling import Market

SEED = 4_711


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


@pytest.mark.long
async def test_documents_of_killed_projection_workers_equal_a_replay_of_the_events(
    place: Place,
) -> None:
    market = Market(events=sizes.SOLD_EVENTS)

    findings = await kill_at_random(place, seed=SEED, kills=sizes.WORKER_CRASHES, market=market)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.kills
    assert findings.faults == 0, findings


@pytest.mark.full
@pytest.mark.parametrize("kind", [EarlyCheckpointStore, LateCheckpointStore])
async def test_kill_check_catches_a_checkpoint_in_a_separate_transaction(
    place: Place, kind: Kind
) -> None:
    market = Market(events=300)

    findings = await kill_at_random(place, seed=SEED, kills=6, market=market, kind=kind)

    assert findings.faults, findings


@pytest.mark.long
async def test_poison_stream_stays_blocked_through_kills_until_the_repair(
    place: Place,
) -> None:
    market = Market(events=sizes.POISONED_EVENTS, has_poison=True)

    findings = await kill_at_random(place, seed=SEED, kills=sizes.POISON_CRASHES, market=market)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.kills
    assert findings.faults == 0, findings
