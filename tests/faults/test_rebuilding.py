"""A rebuild that is killed on the way loses no event and takes no document from its readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests.faults.crashing import Place
from tests.faults.naive_positions import HoldsNothing
from tests.faults.rebuilding import (
    InPlace,
    rebuild_while_commands_come,
    rebuild_while_workers_follow,
)
from tests.faults.selling import Market

SEED = 1_729
KILLS = 2
SELLS = Market(events=700, pause=0.1)
"""200 events a second."""
SELLS_LESS = Market(events=300, pause=0.1)


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


async def test_readers_miss_no_document_and_workers_lose_no_event_over_killed_rebuilds(
    place: Place,
) -> None:
    findings = await rebuild_while_workers_follow(
        place, seed=SEED, rounds=2, kills=KILLS, market=SELLS
    )

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.reads
    assert findings.faults == 0, findings


async def test_a_rebuild_in_place_is_caught(place: Place) -> None:
    findings = await rebuild_while_workers_follow(
        place, seed=SEED, rounds=1, kills=0, market=SELLS_LESS, how=InPlace
    )

    assert findings.fewer, findings


async def test_what_commands_write_inline_is_exact_over_killed_rebuilds(place: Place) -> None:
    findings = await rebuild_while_commands_come(place, seed=SEED, rounds=2, kills=KILLS)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.commands
    assert findings.faults == 0, findings


async def test_a_rebuild_that_does_not_wait_for_commands_is_caught(place: Place) -> None:
    findings = await rebuild_while_commands_come(
        place, seed=SEED, rounds=1, kills=0, kind=HoldsNothing
    )

    assert findings.wrong, findings
