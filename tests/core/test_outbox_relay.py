from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryQueueSignal,
)
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
    """Takes messages, unless told otherwise."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refuse: Callable[[OutboxMessage], Exception | None] = lambda message: None
        self.before: Callable[[OutboxMessage], Awaitable[None]] | None = None

    async def publish(self, message: OutboxMessage) -> None:
        await asyncio.sleep(0)
        if self.before:
            await self.before(message)
        if error := self.refuse(message):
            raise error
        self.taken.append(message.message_id)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(clock: FakeClock) -> InMemoryOutboxStorage:
    return InMemoryOutboxStorage(clock)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def relay(outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock) -> OutboxRelay:
    return OutboxRelay(
        outbox, broker, clock=clock, retry=FixedRetryPolicy(max_attempts=3, delay=10)
    )


async def _saved(outbox: InMemoryOutboxStorage, *keys: str | None) -> list[str]:
    sent = [message(key) for key in keys]
    await outbox.save_messages(sent)
    return [each.message_id for each in sent]


async def test_everything_is_published_once(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay
) -> None:
    sent = await _saved(outbox, "a", "b", "a", None)

    assert await relay.run_once() == 4
    assert await relay.run_once() == 0

    assert sorted(broker.taken) == sorted(sent)
    assert await outbox.get_pending() == []


async def test_draining_claims_each_batch_with_the_marks_of_the_one_before(
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
    sent = await _saved(outbox, "a", "b", "a", "a", "a")

    assert await OutboxRelay(outbox, broker, clock=clock, batch=2).drain() == 5

    assert sorted(broker.taken) == sorted(sent)
    assert [m for m in broker.taken if m != sent[1]] == [sent[0], *sent[2:]]
    assert await outbox.get_pending() == []
    assert (outbox.claims, outbox.marks) == (1, 0)


async def test_draining_goes_on_behind_a_failure(
    outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock
) -> None:
    sent = await _saved(outbox, "a", "b", "c", "d")
    broker.refuse = lambda m: SerializationError("unreadable") if m.message_id == sent[1] else None

    assert await OutboxRelay(outbox, broker, clock=clock, batch=2).drain() == 3

    assert broker.taken == [sent[0], *sent[2:]]
    assert [p.message_id for p in await outbox.list_dead_letters()] == [sent[1]]


async def test_a_partition_keeps_its_order_while_others_overtake_it(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay
) -> None:
    slow = await _saved(outbox, "slow", "slow", "slow")
    quick = await _saved(outbox, "quick", "quick")

    async def dawdle(message: OutboxMessage) -> None:
        for _ in range(20 if message.partition_key == "slow" else 0):
            await asyncio.sleep(0)

    broker.before = dawdle
    await relay.run_once()

    assert [m for m in broker.taken if m in slow] == slow
    assert [m for m in broker.taken if m in quick] == quick
    assert broker.taken[:2] == quick


async def test_a_failure_holds_its_partition_back_and_is_tried_again(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay, clock: FakeClock
) -> None:
    sent = await _saved(outbox, "a", "a", "b")
    broker.refuse = lambda m: OSError("no route") if m.message_id == sent[0] else None

    assert await relay.run_once() == 1
    assert await relay.run_once() == 0
    broker.refuse = lambda m: None
    await clock.advance(10)
    assert await relay.run_once() == 2

    assert broker.taken == [sent[2], sent[0], sent[1]]


async def test_poison_message_becomes_a_dead_letter_and_others_go_on(
    outbox: InMemoryOutboxStorage,
    broker: Broker,
    relay: OutboxRelay,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = await _saved(outbox, "a", "a")
    broker.refuse = lambda m: LookupError("no such topic") if m.message_id == sent[0] else None

    for _ in range(5):
        await _saved(outbox, "other")
        await relay.run_once()
        await clock.advance(10)

    (dead_letter,) = await outbox.list_dead_letters()
    assert (dead_letter.message_id, dead_letter.retry_count) == (sent[0], 3)
    assert dead_letter.error == "LookupError('no such topic')"
    assert f"outbox message {sent[0]} is a dead letter after 3 tries" in caplog.text
    assert len(broker.taken) == 5
    await outbox.discard(sent[0])
    await relay.run_once()
    assert broker.taken[-1] == sent[1]


async def test_what_can_never_be_published_is_parked_at_once(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay
) -> None:
    (sent,) = await _saved(outbox, "a")
    broker.refuse = lambda m: SerializationError("too large")

    await relay.run_once()

    assert [p.message_id for p in await outbox.list_dead_letters()] == [sent]


@pytest.mark.parametrize("error", [OSError("gone"), MessagingError("gone"), TimeoutError("gone")])
async def test_an_outage_of_the_broker_is_not_poison(
    outbox: InMemoryOutboxStorage,
    broker: Broker,
    relay: OutboxRelay,
    clock: FakeClock,
    error: Exception,
) -> None:
    sent = await _saved(outbox, "a", "b", "a")
    broker.refuse = lambda m: error

    async with relay:
        await clock.advance(600)
        broker.refuse = lambda m: None
        await clock.advance(31)

    assert sorted(broker.taken) == sorted(sent)
    assert await outbox.list_dead_letters() == []
    assert all(m.retry_count == 0 for m in outbox._messages.values())


async def test_an_outage_is_told_to_who_runs_one_round(
    outbox: InMemoryOutboxStorage, broker: Broker, relay: OutboxRelay
) -> None:
    await _saved(outbox, "a", "b")
    broker.refuse = lambda m: OSError("gone")

    with pytest.raises(MessagingError, match="the broker accepted none of 2 messages"):
        await relay.run_once()

    assert len(await outbox.claim("another")) == 2


async def test_a_publisher_that_hangs_is_given_up(
    outbox: InMemoryOutboxStorage, broker: Broker
) -> None:
    sent = await _saved(outbox, "a", "b")

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
async def test_a_crash_between_publishing_and_marking_repeats_and_never_loses(
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
    sent = await _saved(outbox, "a", "a")

    with pytest.raises(Crash):
        await work(OutboxRelay(crashing, broker, clock=clock))
    survivor = OutboxRelay(outbox, broker, clock=clock)
    assert await survivor.run_once() == 0
    await clock.advance(30)
    assert await survivor.run_once() == 2

    assert broker.taken == sent + sent


async def test_marking_before_publishing_would_lose_a_message(
    outbox: InMemoryOutboxStorage, broker: Broker
) -> None:
    class MarksFirst(OutboxRelay):
        async def _publish(self, lease: OutboxLease, deadline: float) -> Any:
            await self._outbox.complete(lease, [m.message_id for m in lease.messages])
            return await super()._publish(lease, deadline)

    await _saved(outbox, "a")
    broker.refuse = lambda m: OSError("the process dies here")

    with pytest.raises(MessagingError):
        await MarksFirst(outbox, broker).run_once()

    assert (broker.taken, await outbox.get_pending()) == ([], [])


async def test_a_relay_that_lost_its_lease_marks_nothing(
    outbox: InMemoryOutboxStorage,
    broker: Broker,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = await _saved(outbox, "a", "a", "a")
    frozen = OutboxRelay(outbox, broker, clock=clock, lease=30)
    other = OutboxRelay(outbox, broker, clock=clock)

    async def freeze(message: OutboxMessage) -> None:
        if message.message_id == sent[1] and broker.taken.count(sent[0]) == 1:
            await clock.advance(31)
            assert await other.run_once() == 3

    broker.before = freeze
    await frozen.run_once()

    assert "ended; another relay publishes it now" in caplog.text
    assert await outbox.get_pending() == []
    assert list(dict.fromkeys(broker.taken)) == sent


async def test_publishing_stops_before_the_lease_ends(
    outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock
) -> None:
    sent = await _saved(outbox, "a", "a", "a")

    async def take_long(message: OutboxMessage) -> None:
        await clock.advance(11)

    broker.before = take_long
    relay = OutboxRelay(outbox, broker, clock=clock, lease=30, publish_timeout=10)

    assert await relay.run_once() == 2
    assert await relay.run_once() == 1
    assert broker.taken == sent


@pytest.mark.parametrize("seed", range(5))
async def test_many_relays_with_faults_lose_nothing_and_keep_the_order(seed: int) -> None:
    chance = random.Random(seed)
    outbox, broker = InMemoryOutboxStorage(), Broker()
    sent: dict[str, list[str]] = defaultdict(list)
    for _ in range(200):
        key = f"k{chance.randrange(12)}"
        sent[key] += await _saved(outbox, key)

    async def dawdle(message: OutboxMessage) -> None:
        await asyncio.sleep(chance.random() * 0.002)

    broker.before = dawdle
    broker.refuse = lambda m: OSError("now and then") if chance.random() < 0.1 else None

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
    assert set(Counter(broker.taken).values()) == {1}
    for key, ids in sent.items():
        assert [m for m in broker.taken if m in set(ids)] == ids, f"seed {seed}, {key}"


@pytest.mark.parametrize("relay_all", [OutboxRelay.run_once, OutboxRelay.drain])
async def test_a_cancelled_round_leaves_every_message_pending_or_published(
    clock: FakeClock, relay_all: Callable[[OutboxRelay], Awaitable[int]]
) -> None:
    outbox, broker = InMemoryOutboxStorage(clock), Broker()
    sent: list[str] = []

    async def work() -> None:
        sent[:] = await _saved(outbox, "a", "b", "a")
        await relay_all(OutboxRelay(outbox, broker, clock=clock, batch=2))

    async def check() -> None:
        await clock.advance(31)
        while await OutboxRelay(outbox, broker, clock=clock).run_once():
            pass
        assert await outbox.get_pending() == []
        published = {m.message_id for m in outbox._messages.values()}
        assert published <= set(broker.taken)

    assert await cancel_sweep(work, check) > 3
    assert set(sent) <= set(broker.taken)


async def test_a_running_relay_is_woken_by_a_signal_and_stops_when_asked() -> None:
    outbox, bus, signal = InMemoryOutboxStorage(), InMemoryMessageBus(), InMemoryQueueSignal()
    relay = OutboxRelay(outbox, bus, signal=signal, poll_interval=60)

    async with relay:
        await asyncio.sleep(0.01)
        sent = await _saved(outbox, "a")
        await signal.notify("outbox")
        await asyncio.sleep(0.05)
        with pytest.raises(InvalidOperationError, match="is already running; stop it first"):
            await relay.start()

    assert [m.message_id for m in bus.published] == sent
    await relay.stop()


async def test_polling_suffices_alone(clock: FakeClock, outbox: InMemoryOutboxStorage) -> None:
    bus = InMemoryMessageBus()

    async with OutboxRelay(outbox, bus, clock=clock, poll_interval=5):
        await clock.advance(1)
        await _saved(outbox, "a")
        await clock.advance(5)

    assert len(bus.published) == 1


async def test_stopping_finishes_the_message_in_hand_and_hands_the_rest_back(
    outbox: InMemoryOutboxStorage, broker: Broker, clock: FakeClock
) -> None:
    sent = await _saved(outbox, "a", "a", "a")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(message: OutboxMessage) -> None:
        reached.set()
        await go_on.wait()

    broker.before = hold
    relay = OutboxRelay(outbox, broker, clock=clock)
    await relay.start()
    await reached.wait()
    stopping = asyncio.ensure_future(relay.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping

    assert broker.taken == sent[:1]
    (lease,) = await outbox.claim("another")
    assert [m.message_id for m in lease.messages] == sent[1:]
    await outbox.release(lease)
    assert await relay.run_once() == 2


async def test_what_is_claimed_while_the_relay_stops_is_handed_back(
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
    sent = await _saved(stopped, "a", "a")
    running = OutboxRelay(stopped, broker, clock=clock, batch=1)

    await running.start()
    await is_stopping.wait()
    await stopping[0]

    assert broker.taken == sent[:1]
    (lease,) = await stopped.claim("another")
    assert [m.message_id for m in lease.messages] == sent[1:]


async def test_a_storage_that_fails_does_not_end_the_relay(
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
    await _saved(outbox, "a")

    async with OutboxRelay(outbox, bus, clock=clock):
        await clock.advance(120)

    assert len(bus.published) == 1
    assert caplog.text.count("the database is away") == 3


def test_unusable_settings_are_refused(outbox: InMemoryOutboxStorage, broker: Broker) -> None:
    for publish_timeout in (0.0, -1.0, 30.0):
        with pytest.raises(ConfigError, match="publish_timeout must be positive and below lease"):
            OutboxRelay(outbox, broker, lease=30, publish_timeout=publish_timeout)
