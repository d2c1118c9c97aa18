"""Rebuilds that are killed while other processes sell, follow, send commands and read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from cqrs_ddd_advanced_core.projections import ProjectionHandler, ProjectionRebuild
from cqrs_ddd_core import StreamId
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyPositionStore
from tests.advanced.projection_environment import ProjectionEnvironment, create_inline_mediator
from tests.advanced.till_domain import Days, Sell, Tills
from tests.faults.crashing import Place
from tests.faults.naive_positions import Kind
from tests.faults.projecting import END_SECONDS, Findings, create_worker, judge
from tests.faults.selling import Market, create_environment, run_sell
from tests.forking import kill, process

BATCH = 4
SENDERS = 3

Rebuild = type[ProjectionRebuild]


@dataclass
class RebuildFindings(Findings):
    rebuilds: int = 0
    reads: int = 0
    fewer: int = 0
    commands: int = 0
    noted_but_gone: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        return super().faults + self.fewer + self.noted_but_gone + len(self.failures)

    def __str__(self) -> str:
        failures = "".join(f"\n    {each}" for each in self.failures)
        return (
            f"{self.rebuilds} rebuilds, {super().__str__()}, {self.reads:,} reads, {self.fewer} of "
            f"them with fewer documents, {self.commands:,} commands, {self.noted_but_gone} noted "
            f"but gone{failures}"
        )


def create_tills(version: int) -> ProjectionHandler:
    """Create the projection of tills under a later version, with other fields."""
    fields = {"cents": int} if version % 2 else {"place": str}
    later: type[Tills] = type("Tills", (Tills,), {"version": version, "fields": fields})
    return later()


class InPlaceRebuild(ProjectionRebuild):
    """Wrong rebuild that truncates the live collection and fills it again."""

    async def run(self, *, resume: bool = False, replace_later: bool = False) -> int:
        async with self._runtime.uow_factory() as uow:
            store = uow.projections  # type: ignore[attr-defined]
            await store.truncate_collection(self._handler.collection, uow=uow)
        return await super().run(resume=resume, replace_later=replace_later)


async def rebuild(
    place: Place, handler: Callable[[], ProjectionHandler], batch: int, kind: Kind, how: Rebuild
) -> None:
    async with place.engine() as engine:
        environment = create_environment(place, engine, kind)
        again = how(handler(), **environment.stores, batch=batch, lease=1.0, worker_id="rebuild")
        await again.run(resume=True)


async def follow(place: Place, version: int) -> None:
    async with (
        place.engine() as engine,
        create_worker(create_environment(place, engine), [create_tills(version)]),
    ):
        await asyncio.Event().wait()


async def send(place: Place) -> None:
    """Send commands to tills of this process in an endless loop, with a note of each success."""
    async with place.engine() as engine:
        mediator = await create_inline_mediator(create_environment(place, engine), Days())
        with (place.folder / f"sent-{os.getpid()}").open("a", buffering=1) as notes:
            for number in count():
                await mediator.send(
                    Sell(till_id=f"stall-{os.getpid()}-{number % 5}", cents=number % 90 + 1)
                )
                notes.write("1\n")
                # The lock of SQLite is not fair: without a pause, a rebuild would wait too long.
                await asyncio.sleep(0.01)


async def rebuild_while_workers_follow(
    place: Place,
    *,
    seed: int,
    rounds: int,
    kills: int,
    market: Market,
    batch: int = BATCH,
    how: Rebuild = ProjectionRebuild,
) -> RebuildFindings:
    """Rebuild to the next version in each round; workers of that version wait until it is live."""
    dice, findings = random.Random(seed), RebuildFindings()
    async with place.engine() as engine:
        environment = create_environment(place, engine)
        with contextlib.ExitStack() as stack:
            seller = stack.enter_context(process(run_sell, place, market, seed))
            workers = [stack.enter_context(process(_run_follow, place, 1))]
            await _wait_for_documents(environment, market.streams)
            reading = asyncio.ensure_future(_read(environment, market.streams, findings))
            for version in range(2, rounds + 2):
                workers.append(stack.enter_context(process(_run_follow, place, version)))
                await _rebuild(place, _TillsFactory(version), findings, dice, kills, batch, how=how)
                kill(workers.pop(0))
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.result()
            if findings.failures:
                return findings
            await asyncio.to_thread(seller.join, END_SECONDS)
            end = await environment.events.latest_position()
            assert await environment.positions.wait_until(end, ["tills"], timeout=END_SECONDS)
        await judge(environment, findings, [create_tills(rounds + 1)])
    return findings


async def rebuild_while_commands_come(
    place: Place,
    *,
    seed: int,
    rounds: int,
    kills: int,
    batch: int = BATCH,
    kind: Kind = SQLAlchemyPositionStore,
) -> RebuildFindings:
    """Rebuild an inline projection while processes send commands; kill them at the end."""
    dice, findings = random.Random(seed), RebuildFindings()
    async with place.engine() as engine:
        environment = create_environment(place, engine)
        with contextlib.ExitStack() as stack:
            senders = [stack.enter_context(process(_run_send, place)) for _ in range(SENDERS)]
            while len(list(place.folder.glob("sent-*"))) < SENDERS:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            for _ in range(rounds):
                await _rebuild(place, Days, findings, dice, kills, batch, kind)
            for each in senders:
                if not each.is_alive():
                    findings.failures.append(f"a sender ended with {each.exitcode}")
                kill(each)
        await judge(environment, findings, [Days()])
        findings.commands = await environment.events.latest_position()
    noted = sum(len(each.read_text().split()) for each in place.folder.glob("sent-*"))
    findings.noted_but_gone = max(0, noted - findings.commands)
    return findings


async def _rebuild(
    place: Place,
    handler: Callable[[], ProjectionHandler],
    findings: RebuildFindings,
    dice: random.Random,
    kills: int,
    batch: int,
    kind: Kind = SQLAlchemyPositionStore,
    how: Rebuild = ProjectionRebuild,
) -> None:
    findings.rebuilds += 1
    for _ in range(kills):
        with process(_run_rebuild, place, handler, batch, kind, how) as running:
            await asyncio.to_thread(running.join, dice.uniform(0.05, 0.4))
            findings.kills += running.exitcode is None
    with process(_run_rebuild, place, handler, batch, kind, how) as running:
        await asyncio.to_thread(running.join, END_SECONDS)
        if running.exitcode:
            findings.failures.append((place.folder / "rebuild").read_text())


async def _wait_for_documents(environment: ProjectionEnvironment, streams: list[StreamId]) -> None:
    deadline = time.monotonic() + END_SECONDS
    ids = [each.aggregate_id for each in streams]
    while await environment.events.latest_position() < 100:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await environment.store.ensure_collection(Tills.collection, create_tills(1).fields)
    while len(await environment.get_documents(Tills(), *ids)) < len(ids):
        assert time.monotonic() < deadline, "the worker writes no documents"
        await asyncio.sleep(0.02)


async def _read(
    environment: ProjectionEnvironment, streams: list[StreamId], findings: RebuildFindings
) -> None:
    ids = [each.aggregate_id for each in streams]
    while True:
        findings.reads += 1
        findings.fewer += len(await environment.get_documents(Tills(), *ids)) < len(ids)
        await asyncio.sleep(0.002)


@dataclass(frozen=True)
class _TillsFactory:
    """Factory of a version of the projection, which can be sent to another process."""

    version: int

    def __call__(self) -> ProjectionHandler:
        return create_tills(self.version)


def _run_rebuild(
    place: Place, handler: Callable[[], ProjectionHandler], batch: int, kind: Kind, how: Rebuild
) -> None:
    try:
        asyncio.run(rebuild(place, handler, batch, kind, how))
    except Exception as error:
        (place.folder / "rebuild").write_text(repr(error))
        raise


def _run_follow(place: Place, version: int) -> None:
    asyncio.run(follow(place, version))


def _run_send(place: Place) -> None:
    asyncio.run(send(place))
