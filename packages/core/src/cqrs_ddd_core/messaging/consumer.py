"""From a broker to a handler, each message once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..correlation import correlation_scope
from ..ports.inbox import fingerprint_of, inbox_of
from ..ports.outbox import OutboxMessage
from ..ports.unit_of_work import UnitOfWork


class InboxConsumer:
    """Wraps a handler for ``IMessageConsumer.subscribe``: its effect and the id commit together.

    A message that ``consumer`` has handled before is passed over; one that fails leaves no trace
    and comes again. Raises ``DuplicateCommandError`` for an id with another content.
    """

    def __init__(
        self,
        consumer: str,
        handler: Callable[[OutboxMessage], Awaitable[object]],
        *,
        uow_factory: Callable[[], UnitOfWork],
    ) -> None:
        self._consumer = consumer
        self._handler = handler
        self._uow_factory = uow_factory

    async def __call__(self, message: OutboxMessage) -> None:
        async with self._uow_factory() as uow:
            inbox = inbox_of(uow)
            fingerprint = fingerprint_of([message.event_type, message.payload])
            if await inbox.register(self._consumer, message.message_id, fingerprint, uow) is None:
                with correlation_scope(message.correlation_id or None, message.message_id):
                    await self._handler(message)
