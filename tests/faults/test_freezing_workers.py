"""Tests of two workers of one projection, one of which was frozen in a batch."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyPositionStore
from tests.advanced.projection_environment import ProjectionEnvironment
from tests.advanced.till_domain import ItemSold, Tills, open_and_sell, to_stored
from tests.faults.crashing import Place
from tests.faults.freezing_workers import FROZEN, LOG, FreezingPositionStore, run_follow
from tests.faults.naive_positions import Kind, UnfencedCheckpointStore
from tests.faults.projecting import BATCH, LEASE, Findings, judge
from tests.faults.selling import POISON, Market, create_environment
from tests.forking import process

STREAMS = Market(tills=4).streams
PATIENCE = 0.5
LOST = "the lease of position 0 of projection"


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


async def test_frozen_worker_cannot_commit_a_batch_that_another_worker_processed(
    place: Place, engine: AsyncEngine
) -> None:
    findings = await _run_with_a_freeze(place, engine, SQLAlchemyPositionStore)

    assert findings.faults == 0, findings
    assert LOST in (place.folder / LOG).read_text()


async def test_freeze_check_catches_a_position_store_that_admits_the_frozen_worker(
    place: Place, engine: AsyncEngine
) -> None:
    await _run_with_a_freeze(place, engine, UnfencedCheckpointStore)

    # The documents need not be wrong in the end: that depends on the worker of the next events.
    assert LOST not in (place.folder / LOG).read_text()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_worker_frozen_with_a_row_lock_blocks_others_only_until_the_server_timeout(
    place: Place, engine: AsyncEngine
) -> None:
    findings = await _run_with_a_freeze(place, engine, FreezingPositionStore, patience=PATIENCE)

    assert findings.faults == 0, findings
    assert "projection worker" in (place.folder / LOG).read_text()


async def _run_with_a_freeze(
    place: Place, engine: AsyncEngine, kind: Kind, patience: float | None = None
) -> Findings:
    """Freeze one worker, let another take over, wake the first, and let both process more."""
    store_kind = SQLAlchemyPositionStore if kind is FreezingPositionStore else kind
    environment = create_environment(place, engine, store_kind)
    for stream in STREAMS:
        await environment.append(to_stored(stream, open_and_sell(1, POISON, 3, 4)))
    with process(run_follow, place, kind, patience) as one:
        while not (place.folder / FROZEN).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with environment.worker(Tills(), worker_id="two", lease=LEASE, batch=BATCH):
            await _wait_until_processed(environment)
            await _sell_more(environment, after=5)
            await _wait_until_processed(environment)
            assert one.pid is not None
            os.kill(one.pid, signal.SIGCONT)
            deadline = time.monotonic() + 20
            while not (place.folder / LOG).read_text() and kind is not UnfencedCheckpointStore:
                assert time.monotonic() < deadline, (
                    "the frozen worker does not notice that it lost its lease"
                )
                await asyncio.sleep(0.02)
            await _sell_more(environment, after=6)
            await asyncio.sleep(LEASE)
            await _wait_until_processed(environment)
        # The first worker processes the next events after the other worker has stopped.
        await _sell_more(environment, after=7)
        await _wait_until_processed(environment)
    findings = Findings()
    await judge(environment, findings, [Tills()])
    return findings


async def _sell_more(environment: ProjectionEnvironment, *, after: int) -> None:
    for stream in STREAMS:
        await environment.append(to_stored(stream, [ItemSold(cents=after)], after=after))


async def _wait_until_processed(environment: ProjectionEnvironment) -> None:
    end = await environment.events.latest_position()
    assert await environment.positions.wait_until(end, [Tills.collection], timeout=20.0)
