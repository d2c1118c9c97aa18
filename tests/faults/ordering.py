"""Workload of many writers, and a reader of all streams that records every event it receives."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sqlalchemy import text

from cqrs_ddd_core.ports import StoredEvent, StreamId
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from cqrs_ddd_core.testing.contracts.event_store import event
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork

SHARED_STREAMS = 8
IDLE_POLLS = 5

Page = Sequence[StoredEvent]
ReadAfter = Callable[[int], Awaitable[Page]]


@dataclass
class Findings:
    """Events that were committed and events that the reader received."""

    committed: set[str] = field(default_factory=set)
    seen: list[StoredEvent] = field(default_factory=list)
    rolled_back: int = 0
    conflicts: int = 0
    slow: int = 0
    savepoints: int = 0

    @property
    def lost(self) -> set[str]:
        return self.committed - {e.event_id for e in self.seen}

    @property
    def never_committed(self) -> set[str]:
        return {e.event_id for e in self.seen} - self.committed

    @property
    def doubled(self) -> int:
        return len(self.seen) - len({e.event_id for e in self.seen})

    @property
    def disordered(self) -> int:
        """Count of decreases of the position, and of streams with versions out of order."""
        positions = [e.position or 0 for e in self.seen]
        versions: dict[StreamId, list[int]] = {}
        for seen in self.seen:
            versions.setdefault(seen.stream, []).append(seen.version)
        steps = sum(one >= two for one, two in pairwise(positions))
        return steps + sum(found != list(range(1, len(found) + 1)) for found in versions.values())

    def __str__(self) -> str:
        return (
            f"{len(self.committed):,} events committed, {self.rolled_back} transactions and "
            f"{self.savepoints} savepoints rolled back, {self.conflicts} conflicts, {self.slow} "
            f"slow transactions; lost {len(self.lost)}, doubled {self.doubled}, "
            f"disordered {self.disordered}, seen though never committed {len(self.never_committed)}"
        )


class Workload:
    """Writers that do everything that is known to confuse readers, chosen by the seed.

    Args:
        transactions: of each writer.
        slow: seconds that one transaction in a hundred stays open.
    """

    def __init__(
        self,
        new_uow: NewUnitOfWork,
        read_after: ReadAfter,
        *,
        seed: int,
        writers: int = 16,
        transactions: int = 20,
        slow: float = 0.5,
    ) -> None:
        self._new_uow = new_uow
        self._read_after = read_after
        self._random = random.Random(seed)
        self._writers = writers
        self._transactions = transactions
        self._slow = slow
        self._streams = [StreamId("Shared", f"{seed}-{n}") for n in range(SHARED_STREAMS)]
        self._findings = Findings()
        self._slow_turns = Counter[int]()

    async def run(self, start: int = 0) -> Findings:
        """Write, and read from the position ``start`` until no more events arrive."""
        writing = asyncio.gather(*(self._write(writer) for writer in range(self._writers)))
        reading = asyncio.ensure_future(self._read(start, writing))
        await writing
        await reading
        return self._findings

    async def _write(self, writer: int) -> None:
        own = StreamId("Own", f"{self._streams[0].aggregate_id}-of-{writer}")
        for number in range(self._transactions):
            uow = self._new_uow()
            written: list[StoredEvent] = []
            try:
                async with uow:
                    await self._change(uow, own, written, f"{writer}-{number}")
                    if self._random.random() < 0.05:
                        self._findings.rolled_back += 1
                        await uow.rollback()
                        continue
            except ConcurrencyError:
                self._findings.conflicts += 1
                continue
            self._findings.committed |= {e.event_id for e in written}

    async def _change(
        self, uow: SQLAlchemyUnitOfWork, own: StreamId, written: list[StoredEvent], name: str
    ) -> None:
        if self._random.random() < 0.3:
            # A transaction that writes another row first gets its transaction id before it reads.
            await uow.inbox.register("orders", f"{own.aggregate_id}-{name}", "print")
            await asyncio.sleep(self._random.random() * 0.005)
        shared = self._random.choice(self._streams)
        await self._append(uow, shared, written)
        if self._random.random() < 0.05:
            self._findings.savepoints += 1
            async with uow.session.begin_nested() as savepoint:
                await self._append(uow, StreamId("Lost", f"{own.aggregate_id}-{name}"), [])
                await savepoint.rollback()
        if self._random.random() < 0.01:
            self._findings.slow += 1
            await asyncio.sleep(self._slow)
        if self._random.random() < 0.5:
            await asyncio.sleep(self._random.random() * 0.003)
            await self._append(uow, own, written)

    async def _append(
        self, uow: SQLAlchemyUnitOfWork, stream: StreamId, written: list[StoredEvent]
    ) -> None:
        events = [event(stream, 1) for _ in range(self._random.choice((1, 1, 3)))]
        await uow.event_store.append_to_stream(stream, events)
        written += events

    async def _read(self, position: int, writing: asyncio.Future[list[None]]) -> None:
        idle = 0
        while idle < IDLE_POLLS:
            page = await self._read_after(position)
            self._findings.seen += page
            position = (page[-1].position or position) if page else position
            idle = idle + 1 if writing.done() and not page else 0
            await asyncio.sleep(0.001)


async def assert_not_delayed(
    new_uow: NewUnitOfWork, read_after: ReadAfter, start: int, change_elsewhere: str
) -> None:
    """Assert that an event is read while a transaction that appends nothing stays open."""
    stream = StreamId("Prompt", f"after {start}")
    async with new_uow() as unrelated:
        await (await unrelated.connection()).execute(text(change_elsewhere))
        async with new_uow() as uow:
            await uow.event_store.append(event(stream, 1))

        assert [e.stream for e in await read_after(start)] == [stream]
