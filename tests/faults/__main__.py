"""``make soak``: the fault runs in their long form, with figures; ``ARGS`` picks them by name."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyOutboxStorage,
    SQLAlchemyUnitOfWork,
    create_schema,
)
from tests import projection_memory as projecting
from tests.databases import new_database
from tests.faults import sizes
from tests.faults.crashing import Place, Tracks, kill_at_random
from tests.faults.filling import measure
from tests.faults.importing import Environment, create_file_settings
from tests.faults.importing import kill_at_random as kill_imports
from tests.faults.locking import Contest, contend, fifo, redlock
from tests.faults.ordering import Workload
from tests.faults.outages import run_with_outages
from tests.faults.projecting import kill_at_random as kill_workers
from tests.faults.rebuilding import rebuild_while_commands_come, rebuild_while_workers_follow
from tests.faults.relaying import run_relays
from tests.faults.selling import Market
from tests.faults.snapshotting import kill_at_random as kill_payers
from tests.order_memory import MAX_GROWTH, measure_peaks
from tests.persistence_sqlalchemy.conftest import asyncpg_url
from tests.persistence_sqlalchemy.parity import Findings, compare_with_memory
from tests.services import Postgres, Redis, running

Run = Callable[[Place, int], Awaitable[tuple[str, int]]]
"""Run that returns its findings as text and the number of faults."""

SEEDS_A_LINE = 100
LARGE = 50
"""Events in a batch of a large run."""
SOLD = Market(tills=400, events=sizes.SOLD_EVENTS, pause=0.015)
POISONED = Market(tills=100, events=sizes.POISONED_EVENTS, pause=0.05, has_poison=True)
SOLD_DURING_REBUILDS = Market(tills=50, events=sizes.SOLD_DURING_REBUILDS, pause=0.1)


async def order(place: Place, seed: int) -> tuple[str, int]:
    """Write with 16 writers into a new store and into a used one, during an unrelated
    transaction."""
    report, faults = [], 0
    async with place.engine() as engine:
        sessions = async_sessionmaker(engine)
        store = SQLAlchemyEventStore(sessions, tables=place.tables)
        async with engine.connect() as unrelated:
            if engine.dialect.name == "postgresql":
                await unrelated.execute(text("CREATE TABLE unrelated ()"))
            for number in range(2):
                workload = Workload(
                    lambda: SQLAlchemyUnitOfWork(session_factory=sessions, tables=place.tables),
                    store.get_events_after,
                    seed=seed + number,
                    transactions=sizes.WRITER_TRANSACTIONS,
                )
                findings = await workload.run(await store.latest_position())
                faults += len(findings.lost) + findings.doubled + findings.disordered
                faults += len(findings.never_committed)
                report.append(str(findings))
            await unrelated.rollback()
    return "\n    ".join(report), faults


async def kill(place: Place, seed: int) -> tuple[str, int]:
    """Run writers, relays and a consumer, one of them killed each round."""
    findings = await kill_at_random(place, seed=seed, rounds=sizes.CRASHES)
    return str(findings), findings.faults


async def snapshots(place: Place, seed: int) -> tuple[str, int]:
    """Run processes that change aggregates with snapshots, one of them killed each round."""
    findings = await kill_payers(place, seed=seed, rounds=sizes.SNAPSHOT_CRASHES)
    return str(findings), findings.faults


async def projections(place: Place, seed: int) -> tuple[str, int]:
    """Run two projection workers during 100,000 sales, one of them killed each round."""
    findings = await kill_workers(
        place, seed=seed, kills=sizes.WORKER_CRASHES, market=SOLD, batch=LARGE
    )
    return str(findings), findings.faults


async def poison(place: Place, seed: int) -> tuple[str, int]:
    """Run projection workers with a poison event, which is repaired during the run."""
    findings = await kill_workers(
        place, seed=seed, kills=sizes.POISON_CRASHES, market=POISONED, batch=LARGE
    )
    return str(findings), findings.faults


async def rebuilds(place: Place, seed: int) -> tuple[str, int]:
    """Rebuild one version after the other, each killed three times, under 200 events/s."""
    findings = await rebuild_while_workers_follow(
        place,
        seed=seed,
        rounds=sizes.REBUILDS,
        kills=sizes.REBUILD_CRASHES,
        market=SOLD_DURING_REBUILDS,
        batch=LARGE,
    )
    return str(findings), findings.faults


async def inline(place: Place, seed: int) -> tuple[str, int]:
    """Rebuild an inline projection during commands, each rebuild killed three times."""
    findings = await rebuild_while_commands_come(
        place, seed=seed, rounds=sizes.REBUILDS, kills=sizes.REBUILD_CRASHES, batch=LARGE * 4
    )
    return str(findings), findings.faults


async def outages(place: Place, seed: int) -> tuple[str, int]:
    """Break the connections of a projection worker, at a commit or for longer than its lease."""
    if place.schema is None:
        return "not run: a file has no connections", 0
    findings = await run_with_outages(place, seed=seed, rounds=sizes.OUTAGES)
    return str(findings), findings.faults


async def projection_memory(place: Place, seed: int) -> tuple[str, int]:
    """Measure the memory of a projection worker with 10,000 and with 1,000,000 events."""
    found = await projecting.measure_peaks(place, sizes.PROJECTED_EVENTS)
    return f"{found}, of {projecting.MAX_GROWTH / 2**20:.1f} MiB", int(
        found.growth > projecting.MAX_GROWTH
    )


async def relays(place: Place, seed: int) -> tuple[str, int]:
    """Run eight relays at once."""
    published_twice = disordered = published = 0
    async with place.engine() as engine:
        outbox = SQLAlchemyOutboxStorage(async_sessionmaker(engine), tables=place.tables)
        for _ in range(sizes.RELAY_RUNS):
            broker = await run_relays([outbox] * 8, keys=20, messages=200)
            published += len(broker.published)
            published_twice += broker.published_twice
            disordered += broker.disordered_keys
    runs = sizes.RELAY_RUNS
    report = (
        f"{runs} runs, {published:,} published, {published_twice} twice, "
        f"{disordered} keys out of order"
    )
    return report, published_twice + disordered + (runs * 200 - published + published_twice)


async def parity(place: Place, seed: int) -> tuple[str, int]:
    """Compare random specifications and pages in memory and in the database."""
    found = Findings()
    async with place.engine() as engine:
        for first in range(seed, seed + sizes.PARITY_SEEDS, SEEDS_A_LINE):
            seeds = range(first, min(first + SEEDS_A_LINE, seed + sizes.PARITY_SEEDS))
            part = await compare_with_memory(engine, seeds, specifications=100, pages=10)
            found.compared += part.compared
            found.rows += part.rows
            found.differences += part.differences
            print(f"    {found}", flush=True)
    return "\n    ".join([str(found), *found.differences[:20]]), len(found.differences)


async def imports(place: Place, seed: int) -> tuple[str, int]:
    """Run the order system of the examples, killed and started again."""
    findings = await asyncio.to_thread(
        kill_imports, place.folder, _new_database(place), seed=seed, kills=sizes.IMPORT_CRASHES
    )
    return str(findings), findings.faults


async def memory(place: Place, seed: int) -> tuple[str, int]:
    """Measure the memory of the order system with a file and with one 100 times as large."""
    found = await asyncio.to_thread(
        measure_peaks,
        place.folder,
        lines=sizes.ORDER_LINES,
        padding=100,
        new_database=_new_database(place),
    )
    return f"{found}, of {MAX_GROWTH / 2**20:.1f} MiB", int(found.growth > MAX_GROWTH)


async def locks(place: Place, seed: int) -> tuple[str, int]:
    """Let 52 tasks in four processes compete for a FIFO lock and for a Redlock of five servers."""
    if place.schema is not None:
        return "not run: it needs no PostgreSQL", 0
    report, faults = [], 0
    with contextlib.ExitStack() as stack:
        urls = tuple(stack.enter_context(running(Redis())).url for _ in range(5))
        for make, servers in ((fifo, 1), (redlock, 5)):
            for freezes in (False, True):
                folder = place.folder / f"{make.__name__}-{freezes}"
                folder.mkdir()
                contest = Contest(urls[:servers], make, folder)
                findings = await contend(
                    contest, seed=seed, rounds=sizes.LOCK_ROUNDS, freezes=freezes
                )
                report.append(f"{make.__name__}: {findings}")
                # A rejected late write is not a fault in a run with frozen holders.
                faults += findings.two_holders + findings.is_wedged
                faults += 0 if freezes else findings.rejected
                faults += findings.overtaken if make is fifo and not freezes else 0
    return "\n    ".join(report), faults


async def size(place: Place, seed: int) -> tuple[str, int]:
    """Append, load, list, claim and purge in tables of a million rows and in small ones."""
    async with place.engine() as engine:
        findings = await measure(engine, place.tables, rows=sizes.FILLED_ROWS)
    return str(findings), len(findings.scans)


def _new_database(place: Place) -> Callable[[int], Environment]:
    if place.schema is None:
        return create_file_settings(place.folder)
    server = place.url.replace("+asyncpg", "")
    return lambda _: {"DATABASE_URL": new_database(server)}


RUNS: tuple[Run, ...] = (
    order,
    kill,
    snapshots,
    projections,
    poison,
    rebuilds,
    inline,
    outages,
    relays,
    parity,
    imports,
    memory,
    projection_memory,
    locks,
    size,
)


@contextlib.asynccontextmanager
async def _create_place(url: str, name: str) -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        is_file = url.startswith("sqlite")
        place = Place(
            f"{url}/{folder}/soak.db" if is_file else url, None if is_file else name, Path(folder)
        )
        async with place.engine() as engine:
            await create_schema(engine, place.tables)
            async with engine.begin() as connection:
                await connection.run_sync(Tracks(place.schema).metadata.create_all)
        yield place


async def _soak(url: str, wanted: str, seed: int) -> int:
    faults = 0
    for run in RUNS:
        for backend in ("sqlite+aiosqlite://", url):
            name = f"{run.__name__} {backend.partition('+')[0]}"
            if wanted not in name:
                continue
            started = time.monotonic()
            print(f"{name}: {run.__doc__}".replace("\n    ", " "), flush=True)
            async with _create_place(backend, f"soak_{run.__name__}") as place:
                report, found = await run(place, seed)
            print(
                f"    {report}\n    {found} faults in {time.monotonic() - started:.0f} s",
                flush=True,
            )
            faults += found
    return faults


def main() -> int:
    wanted, seed = " ".join(sys.argv[1:]), random.randrange(10**6)
    print(f"seed {seed}")
    with running(Postgres()) as server:
        return 1 if asyncio.run(_soak(asyncpg_url(server.url), wanted, seed)) else 0


if __name__ == "__main__":
    raise SystemExit(main())
