"""Database that becomes unavailable to a worker and comes back."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from cqrs_ddd_core import StreamId
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore
from tests.advanced.projection_environment import ProjectionEnvironment
from tests.advanced.till_domain import Days, ItemSold, Tills
from tests.faults.crashing import Place
from tests.faults.projecting import LEASE, PROJECTIONS, Findings, create_worker, judge
from tests.faults.proxy import AtCommit, Proxy
from tests.faults.selling import append, create_environment

WORKER = "only worker"


@dataclass
class OutageFindings(Findings):
    outages: int = 0
    not_reclaimed: int = 0

    @property
    def faults(self) -> int:
        return super().faults + self.not_reclaimed

    def __str__(self) -> str:
        return (
            f"{self.outages} outages, {super().__str__()}, {self.not_reclaimed} leases that were "
            "not claimed again"
        )


async def run_with_outages(place: Place, *, seed: int, rounds: int) -> OutageFindings:
    """Run a worker through outages, some of them longer than its lease."""
    dice, findings = random.Random(seed), OutageFindings(outages=rounds)
    at = {StreamId("Till", f"till-{number}"): 0 for number in range(5)}
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(place.url).run())
        engine = await stack.enter_async_context(place.engine())
        worker_engine = await stack.enter_async_context(replace(place, url=proxy.url).engine())
        environment = create_environment(place, engine)
        following = create_worker(
            create_environment(place, worker_engine), [Tills(), Days()], worker_id=WORKER
        )
        async with following:
            await _sell(environment, at)
            await _wait_until_processed(environment)
            for _ in range(rounds):
                selling = asyncio.ensure_future(_sell(environment, at))
                await asyncio.sleep(dice.uniform(0.0, 0.1))
                if dice.random() < 0.3:
                    proxy.at_commit = dice.choice(
                        [AtCommit.LOSE_THE_ANSWER, AtCommit.LOSE_THE_REQUEST]
                    )
                else:
                    proxy.is_down = True
                    proxy.drop_all()
                await asyncio.sleep(dice.choice([0.1, LEASE * 1.2]))
                proxy.is_down = False
                await selling
                await _wait_until_processed(environment)
                found = await environment.positions.list_positions(PROJECTIONS)
                findings.not_reclaimed += sum(each.worker_id != WORKER for each in found)
        await judge(environment, findings)
    return findings


async def _sell(environment: ProjectionEnvironment, at: dict[StreamId, int]) -> None:
    assert isinstance(environment.events, SQLAlchemyEventStore)
    for _ in range(10):
        await append(environment.events, {each: [ItemSold(cents=20)] for each in at}, at)
        await asyncio.sleep(0.01)


async def _wait_until_processed(environment: ProjectionEnvironment) -> None:
    end = await environment.events.latest_position()
    assert await environment.positions.wait_until(end, PROJECTIONS, timeout=60.0)
