from __future__ import annotations

import asyncio
import logging
import random
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryQueueSignal,
)
from cqrs_ddd_core.instrumentation import Operation, hooks
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import IMessagePublisher, OutboxLease, OutboxMessage
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    InvalidOperationError,
    MessagingError,
    PersistenceError,
    SerializationError,
)
from cqrs_ddd_core.primitives.retry import FixedRetryPolicy
from cqrs_ddd_core.testing.contracts.outbox import message
from cqrs_ddd_core.testing.faults import cancel_sweep


class Broker(IMessagePublisher):
    """Publisher with errors and delays on demand."""

    def __init__(self) -> None:
        self.published_ids: list[str] = []
        self.choose_error: Callable[[OutboxMessage], Exception | None] = lambda message: None
        self.before: Callable[[OutboxMessage], Awaitable[None]] | None = None

    async def publish(self, message: OutboxMessage) -> None:
        await asyncio.sleep(0)
        if self.before:
            await self.before(message)
        if error := self.choose_error(message):
            raise error
        self.published_ids.append(message.message_id)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def relay(outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock) -> OutboxRelay:
    return OutboxRelay(
        outbox, broker, clock=clock, retry=FixedRetryPolicy(max_attempts=3, delay=10)
    )


async def _save_messages(outbox: InMemoryOutboxStorage, *keys: str | None) -> list[str]:
    sent = [message(key) for key in keys]
    await outbox.save_messages(sent)
    return [each.message_id for each in sent]


async def test_outbox_relay_publishes_every_message_once(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay
) -> None:
    sent = await _save_messages(outbox, "a", "b", "a", None)

    assert await relay.run_once() == 4
    assert await relay.run_once() == 0

    assert sorted(broker.published_ids) == sorted(sent)
    assert await outbox.get_pending() == []


async def test_drain_marks_a_batch_and_claims_the_next_in_one_call(
    broker: Broker, clock: FakeClock
) -> None:
    class Counting(InMemoryOutboxStorage):
        claims = marks = 0

        async def claim(
            self, relay_id: str, *, limit: int = 100, lease: float = 30.0
        ) -> list[OutboxLease]:
            self.claims += 1
            return await super().claim(relay_id, limit=limit, lease=lease)

        async def complete_batch(self, published: Any) -> list[OutboxLease]:
            self.marks += 1
            return await super().complete_batch(published)

    outbox = Counting(clock)
    sent = await _save_messages(outbox, "a", "b", "a", "a", "a")

    assert await OutboxRelay(outbox, broker, clock=clock, batch=2).drain() == 5

    assert sorted(broker.published_ids) == sorted(sent)
    assert [m for m in broker.published_ids if m != sent[1]] == [sent[0], *sent[2:]]
    assert await outbox.get_pending() == []
    assert (outbox.claims, outbox.marks) == (1, 0)


async def test_drain_continues_after_a_failed_message(
    outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock
) -> None:
    sent = await _save_messages(outbox, "a", "b", "c", "d")
    broker.choose_error = lambda m: (
        SerializationError("unreadable") if m.message_id == sent[1] else None
    )

    assert await OutboxRelay(outbox, broker, clock=clock, batch=2).drain() == 3

    assert broker.published_ids == [sent[0], *sent[2:]]
    assert [p.message_id for p in await outbox.list_dead_letters()] == [sent[1]]


async def test_slow_partition_keeps_its_order_while_others_overtake_it(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay
) -> None:
    slow = await _save_messages(outbox, "slow", "slow", "slow")
    quick = await _save_messages(outbox, "quick", "quick")

    async def dawdle(message: OutboxMessage) -> None:
        for _ in range(20 if message.partition_key == "slow" else 0):
            await asyncio.sleep(0)

    broker.before = dawdle
    await relay.run_once()

    assert [m for m in broker.published_ids if m in slow] == slow
    assert [m for m in broker.published_ids if m in quick] == quick
    assert broker.published_ids[:2] == quick


async def test_failed_message_blocks_its_partition_and_is_retried(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay, clock: FakeClock
) -> None:
    sent = await _save_messages(outbox, "a", "a", "b")
    broker.choose_error = lambda m: OSError("no route") if m.message_id == sent[0] else None

    assert await relay.run_once() == 1
    assert await relay.run_once() == 0
    broker.choose_error = lambda m: None
    await clock.advance(10)
    assert await relay.run_once() == 2

    assert broker.published_ids == [sent[2], sent[0], sent[1]]


async def test_poison_message_becomes_a_dead_letter_and_others_are_published(
    outbox: InMemoryOutboxStorage,
    broker: Broker,
    relay: OutboxRelay,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = await _save_messages(outbox, "a", "a")
    broker.choose_error = lambda m: (
        LookupError("no such topic") if m.message_id == sent[0] else None
    )

    for _ in range(5):
        await _save_messages(outbox, "other")
        await relay.run_once()
        await clock.advance(10)

    (dead_letter,) = await outbox.list_dead_letters()
    assert (dead_letter.message_id, dead_letter.retry_count) == (sent[0], 3)
    # Without the text, which may hold values of the message.
    assert re.fullmatch(
        r"LookupError at test_outbox_relay\.py:\d+ in publish", str(dead_letter.error)
    )
    assert f"outbox message {sent[0]} is a dead letter after 3 tries" in caplog.text
    assert len(broker.published_ids) == 5
    await outbox.discard(sent[0])
    await relay.run_once()
    assert broker.published_ids[-1] == sent[1]


async def test_unpublishable_message_becomes_a_dead_letter_at_once(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay
) -> None:
    (sent,) = await _save_messages(outbox, "a")
    broker.choose_error = lambda m: SerializationError("too large")

    await relay.run_once()

    assert [p.message_id for p in await outbox.list_dead_letters()] == [sent]


@pytest.mark.parametrize("error", [OSError("gone"), MessagingError("gone"), TimeoutError("gone")])
async def test_broker_outage_creates_no_dead_letters(
    outbox: InMemoryOutboxStorage,
    broker: Broker,
    relay: OutboxRelay,
    clock: FakeClock,
    error: Exception,
) -> None:
    sent = await _save_messages(outbox, "a", "b", "a")
    broker.choose_error = lambda m: error

    async with relay:
        await clock.advance(600)
        broker.choose_error = lambda m: None
        await clock.advance(31)

    assert sorted(broker.published_ids) == sorted(sent)
    assert await outbox.list_dead_letters() == []
    assert all(m.retry_count == 0 for m in outbox._messages.values())


async def test_run_once_raises_messaging_error_during_a_broker_outage(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay
) -> None:
    await _save_messages(outbox, "a", "b")
    broker.choose_error = lambda m: OSError("gone")

    with pytest.raises(MessagingError, match="the broker accepted none of 2 messages"):
        await relay.run_once()

    assert len(await outbox.claim("another")) == 2


async def test_relay_ends_a_publish_that_hangs_after_its_timeout(
    outbox: InMemoryOutboxStorage, broker: Broker
) -> None:
    sent = await _save_messages(outbox, "a", "b")

    async def hang(message: OutboxMessage) -> None:
        if message.message_id == sent[0]:
            await asyncio.Event().wait()

    broker.before = hang
    relay = OutboxRelay(
        outbox, broker, publish_timeout=0.01, retry=FixedRetryPolicy(max_attempts=1)
    )

    assert await relay.run_once() == 1
    assert [p.message_id for p in await outbox.list_dead_letters()] == [sent[0]]


@pytest.mark.parametrize("work", [OutboxRelay.run_once, OutboxRelay.drain])
async def test_relay_crash_between_publish_and_mark_repeats_messages_and_loses_none(
    outbox: InMemoryOutboxStorage,
    broker: Broker,
    clock: FakeClock,
    work: Callable[[OutboxRelay], Awaitable[int]],
) -> None:
    class Crash(BaseException):
        pass

    class CrashingOutbox(InMemoryOutboxStorage):
        async def complete_batch(self, published: Any) -> list[OutboxLease]:
            raise Crash

        async def complete_and_claim(self, published: Any, relay_id: str, **rest: Any) -> Any:
            raise Crash

    crashing = CrashingOutbox(clock)
    crashing._keys, crashing._messages = outbox._keys, outbox._messages
    crashing._waiting = outbox._waiting
    sent = await _save_messages(outbox, "a", "a")

    with pytest.raises(Crash):
        await work(OutboxRelay(crashing, broker, clock=clock))
    survivor = OutboxRelay(outbox, broker, clock=clock)
    assert await survivor.run_once() == 0
    await clock.advance(30)
    assert await survivor.run_once() == 2

    assert broker.published_ids == sent + sent


async def test_crash_check_catches_a_relay_that_marks_messages_before_it_publishes_them(
    outbox: InMemoryOutboxStorage, broker: Broker
) -> None:
    class MarksFirst(OutboxRelay):
        async def _publish(self, lease: OutboxLease, batch: Any) -> Any:
            await self._outbox.complete(lease, [m.message_id for m in lease.messages])
            return await super()._publish(lease, batch)

    await _save_messages(outbox, "a")
    broker.choose_error = lambda m: OSError("the process dies here")

    with pytest.raises(MessagingError):
        await MarksFirst(outbox, broker).run_once()

    assert (broker.published_ids, await outbox.get_pending()) == ([], [])


async def test_relay_that_lost_its_lease_marks_no_message(
    outbox: InMemoryOutboxStorage,
    broker: Broker,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = await _save_messages(outbox, "a", "a", "a")
    frozen = OutboxRelay(outbox, broker, clock=clock, lease=30)
    other = OutboxRelay(outbox, broker, clock=clock)

    async def freeze(message: OutboxMessage) -> None:
        if message.message_id == sent[1] and broker.published_ids.count(sent[0]) == 1:
            await clock.advance(31)
            assert await other.run_once() == 3

    broker.before = freeze
    await frozen.run_once()

    assert "ended; another relay publishes it now" in caplog.text
    assert await outbox.get_pending() == []
    assert list(dict.fromkeys(broker.published_ids)) == sent


async def test_relay_stops_publishing_before_its_lease_ends(
    outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock
) -> None:
    sent = await _save_messages(outbox, "a", "a", "a")

    async def take_long(message: OutboxMessage) -> None:
        await clock.advance(11)

    broker.before = take_long
    relay = OutboxRelay(outbox, broker, clock=clock, lease=30, publish_timeout=10)

    assert await relay.run_once() == 2
    assert await relay.run_once() == 1
    assert broker.published_ids == sent


@pytest.mark.parametrize("seed", range(5))
async def test_concurrent_relays_with_faults_lose_nothing_and_keep_partition_order(
    seed: int,
) -> None:
    chance = random.Random(seed)
    outbox, broker = InMemoryOutboxStorage(), Broker()
    sent: dict[str, list[str]] = defaultdict(list)
    for _ in range(200):
        key = f"k{chance.randrange(12)}"
        sent[key] += await _save_messages(outbox, key)

    async def dawdle(message: OutboxMessage) -> None:
        await asyncio.sleep(chance.random() * 0.002)

    broker.before = dawdle
    broker.choose_error = lambda m: OSError("now and then") if chance.random() < 0.1 else None

    async def work(number: int) -> None:
        relay = OutboxRelay(
            outbox, broker, batch=20, retry=FixedRetryPolicy(max_attempts=99, delay=0.001)
        )
        for _ in range(300):
            try:
                published = await relay.run_once()
            except MessagingError:
                published = 0
            if not published:
                if not await outbox.get_pending():
                    return
                await asyncio.sleep(0.002)

    await asyncio.gather(*(work(number) for number in range(6)))

    assert await outbox.get_pending() == []
    assert set(Counter(broker.published_ids).values()) == {1}
    for key, ids in sent.items():
        assert [m for m in broker.published_ids if m in set(ids)] == ids, f"seed {seed}, {key}"


@pytest.mark.parametrize("relay_all", [OutboxRelay.run_once, OutboxRelay.drain])
async def test_cancelled_relay_round_leaves_every_message_pending_or_published(
    clock: FakeClock, relay_all: Callable[[OutboxRelay], Awaitable[int]]
) -> None:
    outbox, broker = InMemoryOutboxStorage(clock), Broker()
    sent: list[str] = []

    async def work() -> None:
        sent[:] = await _save_messages(outbox, "a", "b", "a")
        await relay_all(OutboxRelay(outbox, broker, clock=clock, batch=2))

    async def check() -> None:
        await clock.advance(31)
        while await OutboxRelay(outbox, broker, clock=clock).run_once():
            pass
        assert await outbox.get_pending() == []
        published = {m.message_id for m in outbox._messages.values()}
        assert published <= set(broker.published_ids)

    assert await cancel_sweep(work, check) > 3
    assert set(sent) <= set(broker.published_ids)


async def test_running_relay_is_woken_by_a_notification_and_can_be_stopped() -> None:
    outbox, bus, signal = InMemoryOutboxStorage(), InMemoryMessageBus(), InMemoryQueueSignal()
    relay = OutboxRelay(outbox, bus, signal=signal, poll_interval=60)

    async with relay:
        await asyncio.sleep(0.01)
        sent = await _save_messages(outbox, "a")
        await signal.notify("outbox")
        await asyncio.sleep(0.05)
        with pytest.raises(InvalidOperationError, match="is already running; stop it first"):
            await relay.start()

    assert [m.message_id for m in bus.published] == sent
    await relay.stop()


async def test_relay_without_notifications_polls_the_outbox(
    clock: FakeClock, outbox: InMemoryOutboxStorage
) -> None:
    bus = InMemoryMessageBus()

    async with OutboxRelay(outbox, bus, clock=clock, poll_interval=5):
        await clock.advance(1)
        await _save_messages(outbox, "a")
        await clock.advance(5)

    assert len(bus.published) == 1


async def test_stopping_relay_finishes_the_current_message_and_releases_the_rest(
    outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock
) -> None:
    sent = await _save_messages(outbox, "a", "a", "a")
    reached, may_publish = asyncio.Event(), asyncio.Event()

    async def hold(message: OutboxMessage) -> None:
        reached.set()
        await may_publish.wait()

    broker.before = hold
    relay = OutboxRelay(outbox, broker, clock=clock)
    await relay.start()
    await reached.wait()
    stopping = asyncio.ensure_future(relay.stop())
    await asyncio.sleep(0)
    may_publish.set()
    await stopping

    assert broker.published_ids == sent[:1]
    (lease,) = await outbox.claim("another")
    assert [m.message_id for m in lease.messages] == sent[1:]
    await outbox.release(lease)
    assert await relay.run_once() == 2


async def test_messages_claimed_while_the_relay_stops_are_released(
    broker: Broker, clock: FakeClock
) -> None:
    stopping: list[asyncio.Future[None]] = []
    is_stopping = asyncio.Event()

    class Stopping(InMemoryOutboxStorage):
        async def complete_and_claim(self, published: Any, relay_id: str, **rest: Any) -> Any:
            claimed = await super().complete_and_claim(published, relay_id, **rest)
            stopping.append(asyncio.ensure_future(running.stop()))
            await asyncio.sleep(0)
            is_stopping.set()
            return claimed

    stopped = Stopping(clock)
    sent = await _save_messages(stopped, "a", "a")
    running = OutboxRelay(stopped, broker, clock=clock, batch=1)

    await running.start()
    await is_stopping.wait()
    await stopping[0]

    assert broker.published_ids == sent[:1]
    (lease,) = await stopped.claim("another")
    assert [m.message_id for m in lease.messages] == sent[1:]


async def test_failing_outbox_storage_does_not_end_the_relay(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    class Failing(InMemoryOutboxStorage):
        failures = 3

        async def claim(
            self, relay_id: str, *, limit: int = 100, lease: float = 30.0
        ) -> list[OutboxLease]:
            if self.failures:
                self.failures -= 1
                raise PersistenceError("the database is away")
            return await super().claim(relay_id, limit=limit, lease=lease)

    outbox, bus = Failing(clock), InMemoryMessageBus()
    await _save_messages(outbox, "a")

    async with OutboxRelay(outbox, bus, clock=clock):
        await clock.advance(120)

    assert len(bus.published) == 1
    assert caplog.text.count("the database is away") == 3


async def test_hooks_see_each_claim_and_each_publish_call_of_a_relay(
    outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock
) -> None:
    seen: list[tuple[str, object]] = []

    @contextmanager
    def record(operation: Operation) -> Iterator[None]:
        try:
            yield
        except MessagingError:
            seen.append((operation.name, "failed"))
            raise
        seen.append((operation.name, operation.attributes.get("message_id")))

    sent = await _save_messages(outbox, "a", "b")
    relay = OutboxRelay(outbox, broker, clock=clock, batch=1)
    remove = hooks.register(record, operations="outbox.*")
    try:
        await relay.drain()
        await _save_messages(outbox, "a")
        broker.choose_error = lambda _: MessagingError("down")
        with pytest.raises(MessagingError):
            await relay.run_once()
    finally:
        remove()

    claim = ("outbox.claim", None)
    first, second = (("outbox.publish", each) for each in sent)
    assert seen == [claim, first, claim, second, claim, claim, ("outbox.publish", "failed")]


def test_relay_rejects_a_publish_timeout_that_is_not_below_its_lease(
    outbox: InMemoryOutboxStorage, broker: Broker
) -> None:
    for publish_timeout in (0.0, -1.0, 30.0):
        with pytest.raises(ConfigError, match="publish_timeout must be positive and below lease"):
            OutboxRelay(outbox, broker, lease=30, publish_timeout=publish_timeout)
