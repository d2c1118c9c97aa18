"""Tests that a killed rebuild loses no event and hides no document from readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests.faults import sizes
from tests.faults.crashing import Place
from tests.faults.naive_positions import NonLockingStore
from tests.faults.rebuilding import (
    InPlaceRebuild,
    rebuild_while_commands_come,
    rebuild_while_workers_follow,
)
from tests.faults.selling import Market

SEED = 1_729
SELLS = Market(events=sizes.SOLD_DURING_REBUILDS, pause=0.1)
"""200 events a second."""
SELLS_LESS = Market(events=300, pause=0.1)


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


@pytest.mark.long
async def test_killed_rebuilds_hide_no_document_and_lose_no_event(
    place: Place,
) -> None:
    findings = await rebuild_while_workers_follow(
        place, seed=SEED, rounds=sizes.REBUILDS, kills=sizes.REBUILD_CRASHES, market=SELLS
    )

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.reads
    assert findings.faults == 0, findings


async def test_rebuild_check_catches_a_rebuild_in_place_that_shows_fewer_documents(
    place: Place,
) -> None:
    findings = await rebuild_while_workers_follow(
        place, seed=SEED, rounds=1, kills=0, market=SELLS_LESS, how=InPlaceRebuild
    )

    assert findings.fewer, findings


@pytest.mark.long
async def test_inline_projection_is_exact_after_killed_rebuilds(place: Place) -> None:
    findings = await rebuild_while_commands_come(
        place, seed=SEED, rounds=sizes.REBUILDS, kills=sizes.REBUILD_CRASHES
    )

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.commands
    assert findings.faults == 0, findings


@pytest.mark.full
async def test_rebuild_check_catches_a_rebuild_that_does_not_wait_for_open_commands(
    place: Place,
) -> None:
    findings = await rebuild_while_commands_come(
        place, seed=SEED, rounds=1, kills=0, kind=NonLockingStore
    )

    assert findings.wrong, findings
