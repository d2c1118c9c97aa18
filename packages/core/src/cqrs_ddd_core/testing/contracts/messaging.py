"""What every broker must do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from ...ports import IMessageConsumer, IMessagePublisher, OutboxMessage
from .outbox import message


class IBroker(IMessagePublisher, IMessageConsumer, Protocol):
    """Both ends of it."""


Deliver = Callable[[], Awaitable[None]]


class MessagingContract:
    """Fixtures: ``broker``; ``deliver``, which waits until it has handed over what it can.

    The topic of a message is its event type.
    """

    async def test_a_message_reaches_every_subscriber_of_its_topic_whole(
        self, broker: IBroker, deliver: Deliver
    ) -> None:
        taken: list[tuple[str, OutboxMessage]] = []
        await broker.subscribe("ParcelWeighed", _build_collector(taken, "one"))
        await broker.subscribe("ParcelWeighed", _build_collector(taken, "two"))
        await broker.subscribe("ParcelLost", _build_collector(taken, "elsewhere"))
        sent = message("k", metadata={"x": "y"}, correlation_id="r", causation_id="c")

        await broker.publish(sent)
        await deliver()

        assert sorted(name for name, _ in taken) == ["one", "two"]
        assert all(found == sent for _, found in taken)

    async def test_a_partition_arrives_in_order(self, broker: IBroker, deliver: Deliver) -> None:
        taken: list[tuple[str, OutboxMessage]] = []
        await broker.subscribe("ParcelWeighed", _build_collector(taken, "one"))
        sent = [message("k") for _ in range(5)]

        for each in sent:
            await broker.publish(each)
        await deliver()

        assert [found for _, found in taken] == sent

    async def test_what_a_handler_refuses_comes_again(
        self, broker: IBroker, deliver: Deliver
    ) -> None:
        taken: list[str] = []

        async def flaky(found: OutboxMessage) -> None:
            taken.append(found.message_id)
            if len(taken) < 3:
                raise LookupError("not yet")

        await broker.subscribe("ParcelWeighed", flaky)
        sent = message("k")
        await broker.publish(sent)
        for _ in range(5):
            try:
                await deliver()
            except LookupError:
                await asyncio.sleep(0)

        assert taken == [sent.message_id] * 3

    async def test_a_message_without_a_subscriber_is_taken(
        self, broker: IBroker, deliver: Deliver
    ) -> None:
        await broker.publish(message("k", event_type="NobodyAsked"))
        await deliver()


def _build_collector(
    taken: list[tuple[str, OutboxMessage]], name: str
) -> Callable[[OutboxMessage], Awaitable[None]]:
    async def handler(found: OutboxMessage) -> None:
        taken.append((name, found))

    return handler
