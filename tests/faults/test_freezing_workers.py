"""Of two workers of one projection, the one that was frozen in a batch spoils nothing."""

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
from tests.faults.freezing_workers import FROZEN, LOG, FreezesWithTheRow, run_follow
from tests.faults.naive_positions import Kind, MovesWhoeverAsks
from tests.faults.projecting import BATCH, LEASE, Findings, judge
from tests.faults.selling import POISON, Market, create_environment
from tests.forking import process

STREAMS = Market(tills=4).streams
PATIENCE = 0.5
LOST = "the lease of position 0 of projection"


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


async def test_who_wakes_up_in_a_batch_that_another_one_took_cannot_commit_it(
    place: Place, engine: AsyncEngine
) -> None:
    findings = await _after_a_freeze(place, engine, SQLAlchemyPositionStore)

    assert findings.faults == 0, findings
    assert LOST in (place.folder / LOG).read_text()


async def test_who_sets_the_position_without_a_look_is_caught(
    place: Place, engine: AsyncEngine
) -> None:
    await _after_a_freeze(place, engine, MovesWhoeverAsks)

    # Whether its documents are wrong in the end depends on who takes the next events.
    assert LOST not in (place.folder / LOG).read_text()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_who_is_frozen_with_the_row_keeps_nobody_out_whom_the_server_lets_in(
    place: Place, engine: AsyncEngine
) -> None:
    findings = await _after_a_freeze(place, engine, FreezesWithTheRow, patience=PATIENCE)

    assert findings.faults == 0, findings
    assert "projection worker" in (place.folder / LOG).read_text()


async def _after_a_freeze(
    place: Place, engine: AsyncEngine, kind: Kind, patience: float | None = None
) -> Findings:
    """When the second one has gone on, the first one has woken up, and both have taken more."""
    its = SQLAlchemyPositionStore if kind is FreezesWithTheRow else kind
    environment = create_environment(place, engine, its)
    for stream in STREAMS:
        await environment.append(to_stored(stream, open_and_sell(1, POISON, 3, 4)))
    with process(run_follow, place, kind, patience) as one:
        while not (place.folder / FROZEN).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with environment.worker(Tills(), worker_id="two", lease=LEASE, batch=BATCH):
            await _until_taken(environment)
            await _sell_more(environment, after=5)
            await _until_taken(environment)
            assert one.pid is not None
            os.kill(one.pid, signal.SIGCONT)
            deadline = time.monotonic() + 20
            while not (place.folder / LOG).read_text() and kind is not MovesWhoeverAsks:
                assert time.monotonic() < deadline, "it does not notice that it was frozen"
                await asyncio.sleep(0.02)
            await _sell_more(environment, after=6)
            await asyncio.sleep(LEASE)
            await _until_taken(environment)
        # It takes the next ones, now that the other one has gone.
        await _sell_more(environment, after=7)
        await _until_taken(environment)
    findings = Findings()
    await judge(environment, findings, [Tills()])
    return findings


async def _sell_more(environment: ProjectionEnvironment, *, after: int) -> None:
    for stream in STREAMS:
        await environment.append(to_stored(stream, [ItemSold(cents=after)], after=after))


async def _until_taken(environment: ProjectionEnvironment) -> None:
    end = await environment.events.latest_position()
    assert await environment.positions.wait_until(end, [Tills.collection], timeout=20.0)
