"""Tests that a process killed while it writes a snapshot corrupts no load."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemySnapshotStore
from tests.faults import sizes
from tests.faults.crashing import Place
from tests.faults.snapshotting import (
    ACCOUNTS,
    DeleteFirstStore,
    Findings,
    KilledAfterSaveStore,
    KilledBeforeSaveStore,
    KilledDuringSaveStore,
    judge,
    kill_at_random,
    open_accounts,
    read_snapshot_versions,
    run_pay_twice,
)
from tests.forking import process

SEED = 11


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


@pytest.mark.parametrize(
    ("kind", "version"),
    [(KilledBeforeSaveStore, 3), (KilledDuringSaveStore, 3), (KilledAfterSaveStore, 4)],
)
async def test_process_killed_at_a_snapshot_leaves_the_old_or_the_new_snapshot(
    place: Place, engine: AsyncEngine, kind: type[SQLAlchemySnapshotStore], version: int
) -> None:
    kept, findings = await _run_until_killed(place, engine, kind)

    assert kept == dict.fromkeys(ACCOUNTS, version)
    assert findings.payments == 6
    assert findings.faults == 0, findings


async def test_kill_check_catches_a_snapshot_store_that_deletes_before_it_saves(
    place: Place, engine: AsyncEngine
) -> None:
    kept, findings = await _run_until_killed(place, engine, DeleteFirstStore)

    assert kept == {}
    assert findings.faults == 0, findings


@pytest.mark.long
async def test_killed_processes_lose_no_payment_and_lower_no_snapshot_version(
    place: Place,
) -> None:
    findings = await kill_at_random(place, seed=SEED, rounds=sizes.SNAPSHOT_CRASHES)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.payments
    assert findings.snapshots
    assert findings.faults == 0, findings


async def _run_until_killed(
    place: Place, engine: AsyncEngine, kind: type[SQLAlchemySnapshotStore]
) -> tuple[dict[str, int], Findings]:
    """Return the stored snapshot versions and the findings of a load after the kill."""
    await open_accounts(place, engine, snapshot=True)
    assert await read_snapshot_versions(place, engine) == dict.fromkeys(ACCOUNTS, 3)
    with process(run_pay_twice, place, kind) as payer:
        payer.join(30)
        assert payer.exitcode == -signal.SIGKILL
    kept, findings = await read_snapshot_versions(place, engine), Findings()
    await judge(place, engine, findings)
    return kept, findings
