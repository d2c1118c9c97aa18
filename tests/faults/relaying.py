"""Concurrent relays that publish one outbox into one list."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import ILeasedOutbox, IMessagePublisher, OutboxMessage
from cqrs_ddd_core.testing.contracts.outbox import message


class ListBroker(IMessagePublisher):
    def __init__(self) -> None:
        self.published: list[OutboxMessage] = []

    async def publish(self, message: OutboxMessage) -> None:
        await asyncio.sleep(0)
        self.published.append(message)

    @property
    def published_twice(self) -> int:
        return len(self.published) - len({each.message_id for each in self.published})

    @property
    def disordered_keys(self) -> int:
        by_key: dict[str | None, list[object]] = {}
        for each in self.published:
            by_key.setdefault(each.partition_key, []).append(each.payload["number"])
        return sum(numbers != sorted(set(numbers), key=str) for numbers in by_key.values())


async def run_relays(outboxes: Sequence[ILeasedOutbox], *, keys: int, messages: int) -> ListBroker:
    """Run one relay for each outbox until no message is pending; return the broker."""
    broker = ListBroker()
    outbox = outboxes[0]
    await outbox.save_messages(
        [message(f"k-{n % keys}", payload={"number": f"{n:06}"}) for n in range(messages)]
    )
    async with contextlib.AsyncExitStack() as stack:
        for each in outboxes:
            relay = OutboxRelay(each, broker, batch=7, poll_interval=0.001)
            await stack.enter_async_context(relay)
        while await outbox.get_pending(limit=1):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return broker
