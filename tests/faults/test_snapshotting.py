"""Who is killed around the writing of a snapshot loses none, and makes no loading wrong."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemySnapshotStore
from tests.faults.crashing import Place
from tests.faults.snapshotting import (
    ACCOUNTS,
    DiesAfterSaving,
    DiesBeforeSaving,
    DiesWhileSaving,
    Findings,
    MakesRoomFirst,
    judge,
    kept_versions,
    kill_at_random,
    open_accounts,
    run_pay_twice,
)
from tests.forking import process

SEED = 11


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


@pytest.mark.parametrize(
    ("kind", "version"), [(DiesBeforeSaving, 3), (DiesWhileSaving, 3), (DiesAfterSaving, 4)]
)
async def test_who_dies_at_a_snapshot_leaves_the_one_before_or_the_new_one(
    place: Place, engine: AsyncEngine, kind: type[SQLAlchemySnapshotStore], version: int
) -> None:
    kept, findings = await _after_a_death(place, engine, kind)

    assert kept == dict.fromkeys(ACCOUNTS, version)
    assert findings.payments == 6
    assert findings.faults == 0, findings


async def test_who_makes_room_first_leaves_none(place: Place, engine: AsyncEngine) -> None:
    kept, findings = await _after_a_death(place, engine, MakesRoomFirst)

    assert kept == {}
    assert findings.faults == 0, findings


async def test_of_killed_processes_no_payment_is_lost_and_no_snapshot_goes_back(
    place: Place,
) -> None:
    findings = await kill_at_random(place, seed=SEED, rounds=8)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.payments
    assert findings.snapshots
    assert findings.faults == 0, findings


async def _after_a_death(
    place: Place, engine: AsyncEngine, kind: type[SQLAlchemySnapshotStore]
) -> tuple[dict[str, int], Findings]:
    """The versions that are kept, and what a loading finds."""
    await open_accounts(place, engine, snapshot=True)
    assert await kept_versions(place, engine) == dict.fromkeys(ACCOUNTS, 3)
    with process(run_pay_twice, place, kind) as payer:
        payer.join(30)
        assert payer.exitcode == -signal.SIGKILL
    kept, findings = await kept_versions(place, engine), Findings()
    await judge(place, engine, findings)
    return kept, findings
