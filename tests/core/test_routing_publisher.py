"""Tests of a relay that publishes to several brokers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryOutboxStorage
from cqrs_ddd_core.messaging import OutboxRelay, RoutingPublisher
from cqrs_ddd_core.ports import IMessagePublisher, OutboxMessage
from cqrs_ddd_core.primitives.exceptions import ConfigError, MessagingError
from cqrs_ddd_core.primitives.retry import FixedRetryPolicy
from cqrs_ddd_core.testing.contracts.outbox import message


class Broker(IMessagePublisher):
    """Broker that can be unavailable, and adds accepted messages to a log."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.error: Exception | None = None
        self.rejected_id: str | None = None
        self.hangs = False
        self.calls = 0

    async def publish(self, message: OutboxMessage) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None and self.rejected_id in (None, message.message_id):
            raise self.error
        self.log.append(message.message_id)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def orders(log: list[str]) -> Broker:
    return Broker(log)


@pytest.fixture
def others(log: list[str]) -> Broker:
    return Broker(log)


@pytest.fixture
def relay(
    outbox: InMemoryOutboxStorage, orders: Broker, others: Broker, clock: FakeClock
) -> OutboxRelay:
    publisher = RoutingPublisher({"Order*": orders, "Parcel*": others})
    retry = FixedRetryPolicy(max_attempts=3, delay=10)
    return OutboxRelay(outbox, publisher, clock=clock, retry=retry, batch=10)


async def _save(outbox: InMemoryOutboxStorage, *sent: tuple[str | None, str]) -> list[str]:
    messages = [message(key, event_type=event_type) for key, event_type in sent]
    await outbox.save_messages(messages)
    return [each.message_id for each in messages]


async def _pass_seconds(clock: FakeClock, seconds: int) -> None:
    """Advance the clock by seconds, and let all tasks run after each of them."""
    for _ in range(seconds):
        await clock.advance(1)
        for _ in range(300):
            await asyncio.sleep(0)


async def test_message_is_published_to_the_broker_of_the_first_pattern_that_matches() -> None:
    first, second = Broker([]), Broker([])
    publisher = RoutingPublisher({"Order*": first, "*": second})

    for event_type in ("OrderPaid", "ParcelSent", "Order"):
        await publisher.publish(message("k", event_type=event_type))

    assert (len(first.log), len(second.log)) == (2, 1)


@pytest.mark.parametrize("publishers", [{}, {"*": Broker}, {"*": "kafka"}, [Broker([])]])
def test_routing_publisher_rejects_anything_that_is_not_a_publisher(publishers: Any) -> None:
    with pytest.raises(ConfigError, match="publishers"):
        RoutingPublisher(publishers)


async def test_message_without_a_publisher_becomes_a_dead_letter(
    outbox: InMemoryOutboxStorage, relay: OutboxRelay
) -> None:
    sent = await _save(outbox, ("a", "InvoiceSent"), ("b", "OrderPaid"))

    assert await relay.run_once() == 1

    (dead_letter,) = await outbox.list_dead_letters()
    assert dead_letter.message_id == sent[0]
    assert "no publisher has a pattern for InvoiceSent" in str(dead_letter.error)


@pytest.mark.parametrize("error", [OSError("gone"), MessagingError("gone"), TimeoutError("gone")])
async def test_unavailable_broker_does_not_stop_the_messages_of_another(
    outbox: InMemoryOutboxStorage,
    relay: OutboxRelay,
    clock: FakeClock,
    orders: Broker,
    log: list[str],
    error: Exception,
) -> None:
    orders.error = error

    await _check_an_outage(outbox, relay, clock, orders, log)


async def test_outage_check_catches_a_relay_that_does_not_know_its_brokers(
    outbox: InMemoryOutboxStorage, clock: FakeClock, orders: Broker, others: Broker, log: list[str]
) -> None:
    routing = RoutingPublisher({"Order*": orders, "*": others})
    single = Broker(log)
    single.publish = routing.publish  # type: ignore[method-assign]
    relay = OutboxRelay(outbox, single, clock=clock)
    orders.error = OSError("gone")

    with pytest.raises(AssertionError):
        await _check_an_outage(outbox, relay, clock, orders, log)


async def _check_an_outage(
    outbox: InMemoryOutboxStorage,
    relay: OutboxRelay,
    clock: FakeClock,
    orders: Broker,
    log: list[str],
) -> None:
    # More keys than a batch wait for the broker that is down.
    waiting = await _save(outbox, *((f"order {number}", "OrderPaid") for number in range(35)))
    sent = await _save(outbox, ("parcel", "ParcelSent"))

    async with relay:
        await _pass_seconds(clock, 1)
        assert log == sent
        sent += await _save(outbox, ("parcel", "ParcelSent"))
        await _pass_seconds(clock, 100)
        assert log == sent
        orders.error = None
        await _pass_seconds(clock, 31)

    assert sorted(log) == sorted(sent + waiting)
    assert all(each.retry_count == 0 for each in outbox._messages.values())


async def test_unavailable_broker_is_called_by_one_batch_at_a_time(
    outbox: InMemoryOutboxStorage, relay: OutboxRelay, orders: Broker
) -> None:
    await _save(outbox, *((f"order {number}", "OrderPaid") for number in range(35)))
    orders.error = OSError("gone")

    assert await relay.drain() == 0

    assert orders.calls == 10
    assert (await outbox.get_backlog()).blocked == 35


async def test_order_of_a_partition_key_is_kept_across_brokers(
    outbox: InMemoryOutboxStorage,
    relay: OutboxRelay,
    clock: FakeClock,
    orders: Broker,
    log: list[str],
) -> None:
    sent = await _save(outbox, ("k", "ParcelSent"), ("k", "OrderPaid"), ("k", "ParcelSent"))
    orders.error = OSError("gone")
    assert await relay.drain() == 1
    assert log == sent[:1]

    orders.error = None
    await clock.advance(2)
    await relay.drain()

    assert log == sent


async def test_hanging_broker_does_not_stop_the_messages_of_another(
    outbox: InMemoryOutboxStorage,
    clock: FakeClock,
    orders: Broker,
    others: Broker,
    log: list[str],
) -> None:
    await _save(outbox, ("order", "OrderPaid"))
    sent = await _save(outbox, ("parcel", "ParcelSent"))
    orders.hangs = True
    publisher = RoutingPublisher({"Order*": orders, "*": others})
    relay = OutboxRelay(outbox, publisher, clock=clock, publish_timeout=0.05)

    assert await relay.drain() == 1

    assert log == sent
    assert (await outbox.get_backlog()).blocked == 1
    assert [each.retry_count for each in await outbox.get_pending()] == [0]


async def test_failure_at_a_broker_that_accepts_other_messages_counts_as_a_try(
    outbox: InMemoryOutboxStorage, relay: OutboxRelay, orders: Broker
) -> None:
    sent = await _save(outbox, ("a", "OrderPaid"), ("b", "OrderPaid"), ("c", "ParcelSent"))
    orders.error, orders.rejected_id = MessagingError("too large"), sent[1]

    assert await relay.drain() == 2

    (failed,) = await outbox.get_pending()
    assert (failed.message_id, failed.retry_count) == (sent[1], 1)


async def test_pauses_of_a_broker_start_small_again_after_it_was_available(
    outbox: InMemoryOutboxStorage,
    relay: OutboxRelay,
    clock: FakeClock,
    orders: Broker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        orders.error = OSError("gone")
        await _save(outbox, ("order", "OrderPaid"))
        await relay.drain()
        orders.error = None
        await clock.advance(2)
        assert await relay.drain() == 1

    assert [text.count("try 1") for text in caplog.messages] == [1, 1]


async def test_message_that_was_not_sent_to_a_broker_counts_no_try(
    outbox: InMemoryOutboxStorage, clock: FakeClock, orders: Broker
) -> None:
    class SlowBroker(Broker):
        async def publish(self, message: OutboxMessage) -> None:
            await clock.advance(2)  # The pause of the other broker ends.
            await super().publish(message)

    publisher = RoutingPublisher({"Order*": orders, "*": SlowBroker([])})
    relay = OutboxRelay(outbox, publisher, clock=clock)
    orders.error = OSError("gone")
    await _save(outbox, ("a", "OrderPaid"))
    await relay.drain()
    orders.error = None

    skipped = await _save(outbox, ("b", "OrderPaid"), ("c", "ParcelSent"), ("c", "OrderPaid"))
    assert await relay.run_once() == 2

    pending = {each.message_id: each.retry_count for each in await outbox.get_pending()}
    assert pending[skipped[0]] == 0
    assert await relay.drain() == 2
