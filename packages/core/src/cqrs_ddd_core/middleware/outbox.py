"""Events into the outbox, in the transaction that raised them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar

from ..context import get_tenant_id, get_user_id
from ..domain.events import DomainEvent
from ..ports.middleware import IMiddleware, Placement
from ..ports.outbox import OUTBOX_CHANNEL, IOutboxProvider, OutboxMessage
from ..ports.queue_signal import IQueueSignal
from ..ports.unit_of_work import UnitOfWork, get_current_uow
from ..primitives.exceptions import InvalidOperationError


class OutboxMiddleware(IMiddleware):
    """Saves a message for each event; those of one aggregate share a partition key.

    The message has the event's id, so that a receiver can tell a repetition. After the commit the
    relays that listen to ``signal`` are woken.
    """

    placement: ClassVar[Placement] = Placement.INSIDE

    def __init__(self, signal: IQueueSignal | None = None) -> None:
        self._signal = signal

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        response = await next_(message)
        if response.events:
            uow = get_current_uow()
            messages = [message_of(event) for event in response.events]
            await _outbox_of(uow).outbox.save_messages(messages, uow)
            if self._signal is not None and uow is not None:
                uow.on_commit(partial(self._signal.notify, OUTBOX_CHANNEL))
        return response


def message_of(event: DomainEvent) -> OutboxMessage:
    """The event as a message; raises ``SerializationError`` for one that is not JSON."""
    facts = {
        "aggregate_id": event.aggregate_id,
        "aggregate_type": event.aggregate_type,
        "aggregate_version": event.aggregate_version,
        "schema_version": event.schema_version,
        "occurred_at": event.occurred_at.isoformat(),
        "tenant_id": get_tenant_id(),
        "user_id": get_user_id(),
    }
    has_stream = event.aggregate_type is not None and event.aggregate_id is not None
    return OutboxMessage(
        message_id=event.event_id,
        event_type=event.event_type,
        payload=event.payload(),
        metadata={**{k: v for k, v in facts.items() if v is not None}, **event.metadata},
        correlation_id=event.correlation_id or "",
        causation_id=event.causation_id,
        partition_key=f"{event.aggregate_type}:{event.aggregate_id}" if has_stream else None,
    )


def _outbox_of(uow: UnitOfWork | None) -> IOutboxProvider:
    carrier: object = uow
    if not isinstance(carrier, IOutboxProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no outbox; use a unit of work that does, or leave "
            "OutboxMiddleware out"
        )
    return carrier
