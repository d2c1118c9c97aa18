"""Contract of message brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from ...ports import IMessageConsumer, IMessagePublisher, OutboxMessage
from .outbox import message


class IBroker(IMessagePublisher, IMessageConsumer, Protocol):
    """Broker that publishes messages and delivers them to subscribers."""


Deliver = Callable[[], Awaitable[None]]


class MessagingContract:
    """Contract of ``IMessagePublisher`` and ``IMessageConsumer``.

    The topic of a message is its event type.

    Fixtures:
        broker: The broker under test.
        deliver: Coroutine function that waits until the broker has delivered all it can deliver.
    """

    async def test_broker_delivers_the_whole_message_to_every_subscriber_of_its_topic(
        self, broker: IBroker, deliver: Deliver
    ) -> None:
        received: list[tuple[str, OutboxMessage]] = []
        await broker.subscribe("ParcelWeighed", _build_collector(received, "one"))
        await broker.subscribe("ParcelWeighed", _build_collector(received, "two"))
        await broker.subscribe("ParcelLost", _build_collector(received, "elsewhere"))
        sent = message("k", metadata={"x": "y"}, correlation_id="r", causation_id="c")

        await broker.publish(sent)
        await deliver()

        assert sorted(name for name, _ in received) == ["one", "two"]
        assert all(found == sent for _, found in received)

    async def test_each_delivery_of_a_message_has_content_of_its_own(
        self, broker: IBroker, deliver: Deliver
    ) -> None:
        received: list[object] = []

        async def change(found: OutboxMessage) -> None:
            received.append((list(found.payload.items()), list(found.metadata.items())))
            found.payload["tags"] = found.metadata["roles"] = "changed"
            if len(received) == 1:
                raise LookupError("not yet")

        for _ in range(2):
            await broker.subscribe("ParcelWeighed", change)
        sent = message("k", payload={"tags": ["a"]}, metadata={"roles": ["x"]})
        await broker.publish(sent)
        sent.payload["tags"] = "changed"
        for _ in range(2):
            try:
                await deliver()
            except LookupError:
                await asyncio.sleep(0)

        assert received == [([("tags", ["a"])], [("roles", ["x"])])] * 3

    async def test_messages_of_one_partition_arrive_in_order(
        self, broker: IBroker, deliver: Deliver
    ) -> None:
        received: list[tuple[str, OutboxMessage]] = []
        await broker.subscribe("ParcelWeighed", _build_collector(received, "one"))
        sent = [message("k") for _ in range(5)]

        for each in sent:
            await broker.publish(each)
        await deliver()

        assert [found for _, found in received] == sent

    async def test_broker_redelivers_a_message_after_its_handler_failed(
        self, broker: IBroker, deliver: Deliver
    ) -> None:
        received: list[str] = []

        async def flaky(found: OutboxMessage) -> None:
            received.append(found.message_id)
            if len(received) < 3:
                raise LookupError("not yet")

        await broker.subscribe("ParcelWeighed", flaky)
        sent = message("k")
        await broker.publish(sent)
        for _ in range(5):
            try:
                await deliver()
            except LookupError:
                await asyncio.sleep(0)

        assert received == [sent.message_id] * 3

    async def test_broker_accepts_a_message_without_subscribers(
        self, broker: IBroker, deliver: Deliver
    ) -> None:
        await broker.publish(message("k", event_type="NeverSubscribed"))
        await deliver()


def _build_collector(
    received: list[tuple[str, OutboxMessage]], name: str
) -> Callable[[OutboxMessage], Awaitable[None]]:
    async def handler(found: OutboxMessage) -> None:
        received.append((name, found))

    return handler
