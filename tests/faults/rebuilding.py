"""Rebuilds that are killed on the way, while others sell, follow, send commands and read."""

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
from tests.faults.projecting import AT_THE_END, Findings, judge, worker
from tests.faults.selling import Market, create_environment, run_sell
from tests.forking import kill, process

BATCH = 4
SENDERS = 3

Rebuild = type[ProjectionRebuild]


@dataclass
class Rebuilt(Findings):
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


def tills_of(version: int) -> ProjectionHandler:
    """The same documents under a later version, with other fields."""
    fields = {"cents": int} if version % 2 else {"place": str}
    later: type[Tills] = type("Tills", (Tills,), {"version": version, "fields": fields})
    return later()


class InPlace(ProjectionRebuild):
    """Naive: empties the live view, and begins again."""

    async def run(self, *, resume: bool = False) -> int:
        async with self._runtime.uow_factory() as uow:
            store = uow.projections  # type: ignore[attr-defined]
            await store.truncate_collection(self._handler.collection, uow=uow)
        return await super().run(resume=resume)


async def rebuild(
    place: Place, handler: Callable[[], ProjectionHandler], batch: int, kind: Kind, how: Rebuild
) -> None:
    async with place.engine() as engine:
        environment = create_environment(place, engine, kind)
        again = how(
            handler(), **environment.stores, batch=batch, lease=1.0, worker_id="the rebuild"
        )
        await again.run(resume=True)


async def follow(place: Place, version: int) -> None:
    async with (
        place.engine() as engine,
        worker(create_environment(place, engine), [tills_of(version)]),
    ):
        await asyncio.Event().wait()


async def send(place: Place) -> None:
    """Commands for ever, each sender to tills of its own, and a note of each that was done."""
    async with place.engine() as engine:
        mediator = await create_inline_mediator(create_environment(place, engine), Days())
        with (place.folder / f"sent-{os.getpid()}").open("a", buffering=1) as notes:
            for number in count():
                await mediator.send(
                    Sell(till_id=f"stall-{os.getpid()}-{number % 5}", cents=number % 90 + 1)
                )
                notes.write("1\n")
                # SQLite gives its lock to no one in turn: a rebuild would wait for each batch.
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
) -> Rebuilt:
    """Each round to the next version, whose workers wait until it is live."""
    dice, findings = random.Random(seed), Rebuilt()
    async with place.engine() as engine:
        environment = create_environment(place, engine)
        with contextlib.ExitStack() as stack:
            seller = stack.enter_context(process(run_sell, place, market, seed))
            workers = [stack.enter_context(process(_run_follow, place, 1))]
            await _until_there(environment, market.streams)
            reading = asyncio.ensure_future(_read(environment, market.streams, findings))
            for version in range(2, rounds + 2):
                workers.append(stack.enter_context(process(_run_follow, place, version)))
                await _rebuild(place, _Later(version), findings, dice, kills, batch, how=how)
                kill(workers.pop(0))
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.result()
            if findings.failures:
                return findings
            await asyncio.to_thread(seller.join, AT_THE_END)
            end = await environment.events.latest_position()
            assert await environment.positions.wait_until(end, ["tills"], timeout=AT_THE_END)
        await judge(environment, findings, [tills_of(rounds + 1)])
    return findings


async def rebuild_while_commands_come(
    place: Place,
    *,
    seed: int,
    rounds: int,
    kills: int,
    batch: int = BATCH,
    kind: Kind = SQLAlchemyPositionStore,
) -> Rebuilt:
    """Of what is written inline, by processes that are killed in the end."""
    dice, findings = random.Random(seed), Rebuilt()
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
    findings: Rebuilt,
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
        await asyncio.to_thread(running.join, AT_THE_END)
        if running.exitcode:
            findings.failures.append((place.folder / "rebuild").read_text())


async def _until_there(environment: ProjectionEnvironment, streams: list[StreamId]) -> None:
    deadline = time.monotonic() + AT_THE_END
    ids = [each.aggregate_id for each in streams]
    while await environment.events.latest_position() < 100:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await environment.store.ensure_collection(Tills.collection, tills_of(1).fields)
    while len(await environment.get_documents(Tills(), *ids)) < len(ids):
        assert time.monotonic() < deadline, "the worker makes no documents"
        await asyncio.sleep(0.02)


async def _read(
    environment: ProjectionEnvironment, streams: list[StreamId], findings: Rebuilt
) -> None:
    ids = [each.aggregate_id for each in streams]
    while True:
        findings.reads += 1
        findings.fewer += len(await environment.get_documents(Tills(), *ids)) < len(ids)
        await asyncio.sleep(0.002)


@dataclass(frozen=True)
class _Later:
    """What can be handed to another process."""

    version: int

    def __call__(self) -> ProjectionHandler:
        return tills_of(self.version)


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
