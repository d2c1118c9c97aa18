"""Consumer that handles each message of a broker once."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace

from ..correlation import correlation_scope
from ..domain.events import DomainEvent, EventTypeRegistry, default_event_registry
from ..instrumentation import hooks
from ..ports import OutboxMessage, UnitOfWork
from ..primitives import exceptions
from ..spi.inbox import compute_fingerprint, get_inbox
from ..spi.tenancy import open_request


class InboxConsumer:
    """Handler for ``IMessageConsumer.subscribe`` that handles each message once.

    The effect of a message and its record in the inbox commit together. A message that ``consumer``
    has handled before is skipped; a message that fails leaves no record and is delivered again.

    Args:
        consumer: name under which the inbox records the messages.
        handler: handles a message in the unit of work.
        uow_factory: creates the unit of work of each message.

    Raises:
        ConfigError: ``uow_factory`` is not a factory.
        DuplicateCommandError: a message with the same id was handled with different content.

    Example:
        ```python
        from cqrs_ddd_core import InMemoryBackend, InboxConsumer, OutboxMessage
        from cqrs_ddd_core.adapters.memory import InMemoryMessageBus

        async def send_mail(message: OutboxMessage) -> None:
            print(message.event_type)

        backend, bus = InMemoryBackend(), InMemoryMessageBus()
        consumer = InboxConsumer("mails", send_mail, uow_factory=backend.unit_of_work)
        await bus.subscribe("OrderPlaced", consumer)
        ```
    """

    def __init__(
        self,
        consumer: str,
        handler: Callable[[OutboxMessage], Awaitable[object]],
        *,
        uow_factory: Callable[[], UnitOfWork],
    ) -> None:
        exceptions.arguments.ensure_factory(
            uow_factory, UnitOfWork, "uow_factory", example="backend.unit_of_work"
        )
        self._consumer = consumer
        self._handler = handler
        self._uow_factory = uow_factory

    async def __call__(self, message: OutboxMessage) -> None:
        """Handle the message in a unit of work, unless the inbox has recorded it.

        The unit of work runs in the request context of the tenant and the user that the metadata
        of the message name.
        """
        scope = correlation_scope(message.correlation_id or None, message.message_id)
        with scope, open_request(message.metadata), self._open_span(message):
            await self._consume(message)

    async def _consume(self, message: OutboxMessage) -> None:
        async with self._uow_factory() as uow:
            inbox = get_inbox(uow)
            fingerprint = compute_fingerprint([message.event_type, message.payload])
            if await inbox.register(self._consumer, message.message_id, fingerprint, uow) is None:
                await self._handler(message)

    def _open_span(self, message: OutboxMessage) -> AbstractContextManager[object]:
        return hooks.span(
            "message.consume",
            message_type=message.event_type,
            message_id=message.message_id,
            consumer=self._consumer,
        )


def decode_event(
    message: OutboxMessage, events: EventTypeRegistry = default_event_registry
) -> DomainEvent:
    """Return the event from which ``OutboxMiddleware`` created the message, with its envelope.

    Raises:
        UnknownTypeError: no class is registered under the event type.
        SerializationError: the payload does not fit the class, or has another schema version.
    """
    facts = message.metadata
    return events.decode(
        SimpleNamespace(
            event_type=message.event_type,
            payload=message.payload,
            schema_version=facts.get("schema_version"),
            event_id=message.message_id,
            occurred_at=facts.get("occurred_at"),
            aggregate_id=facts.get("aggregate_id"),
            aggregate_type=facts.get("aggregate_type"),
            version=facts.get("aggregate_version"),
            correlation_id=message.correlation_id or None,
            causation_id=message.causation_id,
            metadata=message.read_event_metadata(),
        )
    )
