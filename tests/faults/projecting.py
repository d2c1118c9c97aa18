"""Projection workers in processes of their own, killed at random moments while events are stored.

Their documents are compared with a replay of the events.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar

from cqrs_ddd_advanced_core.ports.dead_letters import DeadLetterState
from cqrs_ddd_advanced_core.projections import (
    LiveProjection,
    ProjectionDocuments,
    ProjectionHandler,
    ProjectionWorker,
)
from cqrs_ddd_core import DomainEvent
from cqrs_ddd_core.primitives.id_generator import uuid4_text
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyPositionStore
from cqrs_ddd_specifications import QueryOptions
from tests.advanced.projection_environment import ProjectionEnvironment
from tests.advanced.till_domain import Days, Tills
from tests.faults.crashing import Place
from tests.faults.naive_positions import Kind
from tests.faults.selling import POISON, SICK, Market, create_environment, run_sell
from tests.forking import kill, process

LEASE = 0.3
PROJECTIONS = [Tills.collection, Days.collection]
BATCH = 10
REPAIRED = "repaired"
END_SECONDS = 300.0
"""Seconds after which workers that are not killed have hung."""


class Repairable(Tills):
    """Projection that cannot process one sale until the file ``repaired`` exists."""

    name: ClassVar[str] = "Tills"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _add(self, event: DomainEvent, cents: int, documents: ProjectionDocuments) -> None:
        if cents == POISON:
            self.rejected = set() if (self._folder / REPAIRED).exists() else {POISON}
        super()._add(event, cents, documents)


def create_handlers(place: Place) -> list[ProjectionHandler]:
    return [Repairable(place.folder), Days()]


def create_worker(
    environment: ProjectionEnvironment, projections: Sequence[ProjectionHandler], **options: Any
) -> ProjectionWorker:
    return environment.worker(*projections, **{"lease": LEASE, "batch": BATCH, **options})


async def follow(place: Place, worker_id: str, kind: Kind, batch: int) -> None:
    async with place.engine() as engine:
        environment = create_environment(place, engine, kind)
        async with create_worker(
            environment, create_handlers(place), worker_id=worker_id, batch=batch
        ):
            await asyncio.Event().wait()


@dataclass
class Findings:
    kills: int = 0
    events: int = 0
    documents: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    wrong: int = 0
    letters: int = 0
    overtaken: int = 0

    @property
    def faults(self) -> int:
        return (
            self.lost + self.doubled + self.disordered + self.wrong + self.letters + self.overtaken
        )

    def __str__(self) -> str:
        return (
            f"{self.kills} killed, {self.events:,} events in {self.documents} documents; "
            f"{self.lost} lost, {self.doubled} repeated, {self.disordered} disordered tills, "
            f"{self.wrong} wrong documents, {self.letters} dead letters left, "
            f"{self.overtaken} streams that overtook their poison event"
        )


class Crew:
    """Two workers, one of which is killed and replaced at a time.

    The replacement has the same worker id, like a restarted service, or a new one.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        dice: random.Random,
        place: Place,
        kind: Kind,
        batch: int,
    ) -> None:
        self._dice = dice
        self._stack = stack
        self._work = (place, kind, batch)
        self._running = [self._start(name) for name in ("one", "two")]

    def _start(self, name: str) -> tuple[str, BaseProcess]:
        place, kind, batch = self._work
        return name, self._stack.enter_context(process(run_follow, place, name, kind, batch))

    async def lose(
        self, environment: ProjectionEnvironment, kills: int, seller: BaseProcess
    ) -> int:
        """Kill one worker at a time, mostly the holder of a lease, after progress since the last
        kill; return the number of kills until no work was left."""
        before = await _progress(environment)
        for number in range(kills):
            while await _progress(environment) == before:
                if not seller.is_alive() and await _is_all_processed(environment):
                    return number
                await asyncio.sleep(0.005)
            await asyncio.sleep(self._dice.uniform(0.0, 0.1))
            holders = [
                each.worker_id for each in await environment.positions.list_positions(PROJECTIONS)
            ]
            names = [name for name, _ in self._running]
            holding = [n for n, name in enumerate(names) if name in holders] or [0, 1]
            victim = self._dice.choice(holding if self._dice.random() < 0.8 else [0, 1])
            name, running = self._running[victim]
            kill(running)
            before = await _progress(environment)
            self._running[victim] = self._start(self._dice.choice([name, uuid4_text()]))
        return kills


async def _progress(environment: ProjectionEnvironment) -> tuple[object, ...]:
    letters = await environment.dead_letters.list_dead_letters(limit=10**6)
    positions = await environment.positions.list_positions(PROJECTIONS)
    return len(letters), *(each.position for each in positions)


async def _is_all_processed(environment: ProjectionEnvironment) -> bool:
    end = await environment.events.latest_position()
    due = any(each.is_due for each in await environment.dead_letters.list_dead_letters(limit=10**6))
    positions = [each.position for each in await environment.positions.list_positions(PROJECTIONS)]
    return not due and positions == [end] * len(PROJECTIONS)


async def kill_at_random(
    place: Place,
    *,
    seed: int,
    kills: int,
    market: Market,
    batch: int = BATCH,
    kind: Kind = SQLAlchemyPositionStore,
) -> Findings:
    """Kill workers while events are stored and, after the repair, during the retry."""
    dice, findings = random.Random(seed), Findings()
    async with place.engine() as engine:
        environment = create_environment(place, engine, kind)
        with contextlib.ExitStack() as stack:
            seller = stack.enter_context(process(run_sell, place, market, seed))
            crew = Crew(stack, dice, place, kind, batch)
            at_repair = kills // 4 if market.has_poison else 0
            findings.kills += await crew.lose(environment, kills - at_repair, seller)
            await asyncio.to_thread(seller.join, END_SECONDS)
            assert seller.exitcode == 0, "the seller has failed"
            await _wait_until_all_is_processed(environment)
            if market.has_poison:
                await _repair(place, environment, findings)
                findings.kills += await crew.lose(environment, at_repair, seller)
            await _wait_until_all_is_processed(environment)
        await judge(environment, findings)
    return findings


async def _wait_until_all_is_processed(environment: ProjectionEnvironment) -> None:
    deadline = time.monotonic() + END_SECONDS
    while not await _is_all_processed(environment):
        assert time.monotonic() < deadline, "events or dead letters are left although workers run"
        await asyncio.sleep(0.02)


async def _repair(place: Place, environment: ProjectionEnvironment, findings: Findings) -> None:
    """Check the blocked till, repair its projection and retry its dead letter."""
    poison, *waiting = await environment.dead_letters.list_dead_letters(
        Tills.collection, limit=10**6
    )
    assert poison.state is DeadLetterState.POISON
    assert waiting, "no event is behind the poison event"
    (sick,) = (await environment.get_documents(Tills(), SICK.aggregate_id)).values()
    stored_events = await environment.events.get_events(SICK.aggregate_id)
    before = [each.version for each in stored_events if (each.position or 0) < poison.position]
    findings.overtaken += sick["seen"] != before
    others = Findings()
    await judge(environment, others, except_id=SICK.aggregate_id)
    findings.wrong += others.wrong
    (place.folder / REPAIRED).touch()
    await environment.dead_letters.retry(Tills.collection, poison.position)


async def judge(
    environment: ProjectionEnvironment,
    findings: Findings,
    projections: Sequence[ProjectionHandler] | None = None,
    except_id: str | None = None,
) -> None:
    findings.letters += len(await environment.dead_letters.list_dead_letters())
    for handler in projections or (Tills(), Days()):
        fresh = await LiveProjection(handler, environment.events).get_all()
        found = await environment.get_documents(handler, *fresh)
        documents = await (await environment.store.find(handler.collection, QueryOptions()))
        strays = len(documents) - len(found)
        if except_id is not None:
            fresh.pop(except_id, None)
        findings.documents += len(found)
        findings.wrong += strays + sum(found.get(each) != fresh[each] for each in fresh)
        if isinstance(handler, Tills):
            for each, document in fresh.items():
                seen = found.get(each, {"seen": []})["seen"]
                findings.events += len(document["seen"])
                findings.lost += len(set(document["seen"]) - set(seen))
                findings.doubled += len(seen) - len(set(seen))
                findings.disordered += seen != sorted(seen)


def run_follow(place: Place, worker_id: str, kind: Kind, batch: int) -> None:
    asyncio.run(follow(place, worker_id, kind, batch))
