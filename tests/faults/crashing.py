"""Writers, relays and a consumer in processes of their own, killed at random moments.

Their effects are judged by the database alone. The broker is a table that stores each message in a
transaction of its own, as a broker would: a process killed after that commit has published.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_core.messaging import InboxConsumer, OutboxRelay
from cqrs_ddd_core.ports import IMessagePublisher, OutboxMessage, StreamId
from cqrs_ddd_core.ports.unit_of_work import get_current_uow
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from cqrs_ddd_core.primitives.id_generator import uuid4_text
from cqrs_ddd_core.testing.contracts.event_store import event
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyOutboxStorage,
    SQLAlchemyUnitOfWork,
    Tables,
    configure_sqlite,
)
from tests.forking import kill, process

KEYS = 5
LEASE = 1.0

Role = Callable[["Place"], Any]


@dataclass(frozen=True)
class Place:
    """Database that the processes share, and a folder for their own notes."""

    url: str
    schema: str | None
    folder: Path

    @property
    def tables(self) -> Tables:
        return Tables(schema=self.schema)

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AsyncEngine]:
        engine = create_async_engine(self.url)
        if engine.dialect.name == "sqlite":
            configure_sqlite(engine)
        try:
            yield engine
        finally:
            await engine.dispose()


class Tracks:
    """Tables of the broker and of the effects of its messages."""

    def __init__(self, schema: str | None) -> None:
        self.metadata = MetaData(schema=schema)
        number = BigInteger().with_variant(Integer(), "sqlite")
        self.broker, self.effects = (
            Table(
                name,
                self.metadata,
                Column("seq", number, primary_key=True, autoincrement=True),
                Column("message_id", Text, nullable=False),
                Column("key", Text, nullable=False),
                Column("number", BigInteger, nullable=False),
            )
            for name in ("broker", "effects")
        )


def _row(message: OutboxMessage) -> dict[str, object]:
    return {
        "message_id": message.message_id,
        "key": message.partition_key,
        "number": message.payload["number"],
    }


class TableBroker(IMessagePublisher):
    def __init__(self, engine: AsyncEngine, tracks: Tracks) -> None:
        self._engine = engine
        self._broker = tracks.broker

    async def publish(self, message: Any) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(insert(self._broker).values(_row(message)))


async def write(place: Place) -> None:
    """Commit an event and its outbox message in an endless loop, with a note of each commit."""
    dice = random.Random()
    async with place.engine() as engine:
        sessions = async_sessionmaker(engine)
        with (place.folder / f"committed-{os.getpid()}").open("a", buffering=1) as notes:
            while True:
                stream = StreamId("Order", f"k-{dice.randrange(KEYS)}")
                message_id = uuid4_text()
                uow = SQLAlchemyUnitOfWork(session_factory=sessions, tables=place.tables)
                with contextlib.suppress(ConcurrencyError):
                    async with uow:
                        appended = await uow.event_store.append_to_stream(
                            stream, [event(stream, 1, event_id=message_id)]
                        )
                        message = OutboxMessage(
                            message_id=message_id,
                            event_type="Notified",
                            payload={"number": appended.version},
                            partition_key=stream.aggregate_id,
                        )
                        await uow.outbox.save_messages([message], uow)
                    notes.write(f"{message_id}\n")


async def relay(place: Place) -> None:
    """Publish messages until the process is killed."""
    async with place.engine() as engine:
        await _relay(place, engine, "").start()
        await asyncio.Event().wait()


async def consume(place: Place) -> None:
    """Handle the messages of the broker, from the first one, until the process is killed."""
    async with place.engine() as engine:
        await _consume(place, engine, until_all_is_read=False)


def _relay(place: Place, engine: AsyncEngine, name: str) -> OutboxRelay:
    return OutboxRelay(
        SQLAlchemyOutboxStorage(async_sessionmaker(engine), tables=place.tables),
        TableBroker(engine, Tracks(place.schema)),
        lease=LEASE,
        publish_timeout=LEASE / 2,
        poll_interval=0.02,
        relay_id=name or None,
    )


async def _consume(place: Place, engine: AsyncEngine, *, until_all_is_read: bool) -> None:
    tracks, seq = Tracks(place.schema), 0
    sessions = async_sessionmaker(engine)

    async def effect(message: OutboxMessage) -> None:
        uow = get_current_uow()
        assert isinstance(uow, SQLAlchemyUnitOfWork)
        connection = await uow.connection()
        await connection.execute(insert(tracks.effects).values(_row(message)))

    handle = InboxConsumer(
        "effects",
        effect,
        uow_factory=lambda: SQLAlchemyUnitOfWork(session_factory=sessions, tables=place.tables),
    )
    broker = tracks.broker
    while True:
        async with engine.connect() as connection:
            page = select(broker).where(broker.c.seq > seq).order_by(broker.c.seq).limit(200)
            rows = (await connection.execute(page)).all()
        if not rows and until_all_is_read:
            return
        for row in rows:
            await handle(
                OutboxMessage(
                    message_id=row.message_id,
                    event_type="Notified",
                    payload={"number": row.number},
                    partition_key=row.key,
                )
            )
            seq = row.seq
        await asyncio.sleep(0.01)


@dataclass
class Findings:
    rounds: int = 0
    killed: dict[str, int] = field(default_factory=dict)
    committed: int = 0
    lost: int = 0
    published_twice: int = 0
    never_committed: int = 0
    noted_but_gone: int = 0
    effects_missing: int = 0
    effects_doubled: int = 0
    disordered_keys: int = 0
    torn: int = 0

    @property
    def faults(self) -> int:
        """Count of all faults; a message that is published twice is not a fault."""
        return (
            self.lost
            + self.never_committed
            + self.noted_but_gone
            + self.effects_missing
            + self.effects_doubled
            + self.disordered_keys
            + self.torn
        )

    def __str__(self) -> str:
        killed = ", ".join(f"{count} {name}" for name, count in sorted(self.killed.items()))
        return (
            f"{self.rounds} rounds, killed {killed or 'none'}; {self.committed:,} messages "
            f"committed, {self.lost} never published, {self.published_twice} published twice, "
            f"{self.never_committed} published though never committed, {self.noted_but_gone} noted "
            f"but gone, {self.effects_missing} without effect, {self.effects_doubled} with two, "
            f"{self.disordered_keys} keys out of order, {self.torn} events or messages alone"
        )


async def kill_at_random(place: Place, *, seed: int, rounds: int) -> Findings:
    """Kill and replace one process a round, then process the rest and judge the database."""
    dice, findings = random.Random(seed), Findings(rounds=rounds)
    roles = [write, write, relay, relay, consume]
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(process(_run, role, place)) for role in roles]
        for _ in range(rounds):
            await asyncio.sleep(dice.uniform(0.02, 0.3))
            role = dice.choice((write, relay, consume))
            victim = dice.choice([n for n, each in enumerate(roles) if each is role])
            findings.killed[role.__name__] = findings.killed.get(role.__name__, 0) + 1
            kill(running[victim])
            running[victim] = stack.enter_context(process(_run, role, place))
    async with place.engine() as engine:
        await publish_all(place, engine, relays=1)
        await _consume(place, engine, until_all_is_read=True)
        await judge(place, engine, findings)
    return findings


async def publish_all(place: Place, engine: AsyncEngine, *, relays: int) -> None:
    """Publish until no message is pending."""
    outbox = SQLAlchemyOutboxStorage(async_sessionmaker(engine), tables=place.tables)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(relays):
            await stack.enter_async_context(_relay(place, engine, f"relay {number}"))
        deadline = time.monotonic() + 60
        while await outbox.get_pending(limit=1):
            assert time.monotonic() < deadline, "messages are pending although relays run"
            await asyncio.sleep(0.02)


async def judge(place: Place, engine: AsyncEngine, findings: Findings) -> None:
    tracks, tables = Tracks(place.schema), place.tables
    async with engine.connect() as connection:
        saved = set(await connection.scalars(select(tables.outbox.c.message_id)))
        stored = set(await connection.scalars(select(tables.events.c.event_id)))
        published = (await connection.execute(select(tracks.broker).order_by("seq"))).all()
        effects = list(await connection.scalars(select(tracks.effects.c.message_id)))
        in_order = (await connection.execute(select(tracks.effects).order_by("seq"))).all()
        total = await connection.scalar(select(func.count()).select_from(tables.events))
    assert total == len(stored)
    ids = [row.message_id for row in published]
    noted = {
        line
        for path in place.folder.glob("committed-*")
        for line in path.read_text().splitlines(keepends=False)
        if len(line) == 36
    }
    findings.committed = len(saved)
    findings.torn = len(saved ^ stored)
    findings.lost = len(saved - set(ids))
    findings.published_twice = len(ids) - len(set(ids))
    findings.never_committed = len(set(ids) - saved)
    findings.noted_but_gone = len(noted - saved)
    findings.effects_missing = len(saved - set(effects))
    findings.effects_doubled = len(effects) - len(set(effects))
    first = dict.fromkeys((row.key, row.number) for row in published)
    findings.disordered_keys = _out_of_order(first) + _out_of_order(
        [(row.key, row.number) for row in in_order]
    )


def _out_of_order(numbers: Any) -> int:
    by_key: dict[str, list[int]] = {}
    for key, number in numbers:
        by_key.setdefault(key, []).append(number)
    return sum(found != list(range(1, len(found) + 1)) for found in by_key.values())


def _run(role: Role, place: Place) -> None:
    asyncio.run(role(place))
