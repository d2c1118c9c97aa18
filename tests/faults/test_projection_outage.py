"""An outage of the database is none of the events': the worker waits, and goes on by itself."""

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
from tests.faults.crashing import Place
from tests.faults.outages import go_away_and_come_back
from tests.faults.projecting import Findings, judge, worker
from tests.faults.proxy import AtCommit, Proxy
from tests.faults.selling import POISON, create_environment

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)
SEED = 99


class CutsTheLine(Tills):
    """The batch with one certain sale gets no answer to its commit."""

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


async def test_a_worker_goes_on_by_itself_when_the_database_is_back(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    findings = await go_away_and_come_back(place, seed=SEED, rounds=4)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.faults == 0, findings
    assert "projection worker: tills" in caplog.text


@pytest.mark.parametrize("at_commit", [AtCommit.LOSE_THE_ANSWER, AtCommit.LOSE_THE_REQUEST])
async def test_a_batch_whose_commit_nobody_answered_is_taken_once(
    place: Place, engine: AsyncEngine, at_commit: AtCommit
) -> None:
    findings = await _after_a_cut(place, engine, at_commit)

    assert findings.events == 4
    assert findings.faults == 0, findings


async def test_who_puts_it_down_to_the_event_is_caught(
    place: Place, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "cqrs_ddd_advanced_core.projections.run"
    monkeypatch.setattr(f"{module}.errors.SerializationError", Exception)

    findings = await _after_a_cut(place, engine, AtCommit.LOSE_THE_REQUEST)

    assert findings.letters, findings


async def _after_a_cut(place: Place, engine: AsyncEngine, at_commit: AtCommit) -> Findings:
    environment, findings = create_environment(place, engine), Findings()
    await environment.append(to_stored(new_till(), open_and_sell(1, POISON, 2)))
    end = await environment.events.latest_position()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(place.url).running())
        handler = CutsTheLine(proxy, at_commit)
        through = await stack.enter_async_context(replace(place, url=proxy.url).engine())
        async with worker(create_environment(place, through), [handler], batch=1):
            assert await environment.positions.wait_until(end, [Tills.collection], timeout=20.0)
    assert handler.cuts
    await judge(environment, findings, [Tills()])
    return findings
