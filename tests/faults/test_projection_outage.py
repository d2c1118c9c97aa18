"""Tests that a projection worker survives an outage of the database without dead letters."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_advanced_core.projections import ProjectionDocuments
from cqrs_ddd_core import DomainEvent
from cqrs_ddd_persistence_sqlalchemy import Tables
from tests.advanced.till_domain import Tills, new_till, open_and_sell, to_stored
from tests.faults import sizes
from tests.faults.crashing import Place
from tests.faults.outages import run_with_outages
from tests.faults.projecting import Findings, create_worker, judge
from tests.faults.proxy import AtCommit, Proxy
from tests.faults.selling import POISON, create_environment

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)
SEED = 99


class CommitCuttingTills(Tills):
    """Projection that loses the reply to the commit of the batch with the poison sale."""

    name = "Tills"

    def __init__(self, proxy: Proxy, at_commit: AtCommit) -> None:
        super().__init__()
        self._proxy = proxy
        self._at_commit = at_commit
        self.cuts = 0

    def _add(self, event: DomainEvent, cents: int, documents: ProjectionDocuments) -> None:
        super()._add(event, cents, documents)
        if cents == POISON and not self.cuts:
            self.cuts = 1
            self._proxy.at_commit = self._at_commit


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


@pytest.mark.long
async def test_projection_worker_resumes_by_itself_after_a_database_outage(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    findings = await run_with_outages(place, seed=SEED, rounds=sizes.OUTAGES)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.faults == 0, findings
    assert "projection worker: tills" in caplog.text


@pytest.mark.parametrize("at_commit", [AtCommit.LOSE_THE_ANSWER, AtCommit.LOSE_THE_REQUEST])
async def test_batch_with_an_unknown_commit_outcome_is_processed_once(
    place: Place, engine: AsyncEngine, at_commit: AtCommit
) -> None:
    findings = await _run_with_a_lost_commit(place, engine, at_commit)

    assert findings.events == 4
    assert findings.faults == 0, findings


async def test_outage_check_catches_a_worker_that_makes_a_dead_letter_of_a_sound_event(
    place: Place, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "cqrs_ddd_advanced_core.projections.run"
    monkeypatch.setattr(f"{module}.errors.SerializationError", Exception)

    findings = await _run_with_a_lost_commit(place, engine, AtCommit.LOSE_THE_REQUEST)

    assert findings.letters, findings


async def _run_with_a_lost_commit(
    place: Place, engine: AsyncEngine, at_commit: AtCommit
) -> Findings:
    environment, findings = create_environment(place, engine), Findings()
    await environment.append(to_stored(new_till(), open_and_sell(1, POISON, 2)))
    end = await environment.events.latest_position()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(place.url).run())
        handler = CommitCuttingTills(proxy, at_commit)
        worker_engine = await stack.enter_async_context(replace(place, url=proxy.url).engine())
        async with create_worker(create_environment(place, worker_engine), [handler], batch=1):
            assert await environment.positions.wait_until(end, [Tills.collection], timeout=20.0)
    assert handler.cuts
    await judge(environment, findings, [Tills()])
    return findings
