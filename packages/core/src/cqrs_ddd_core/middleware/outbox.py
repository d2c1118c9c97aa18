"""Middleware that saves a message in the outbox for each event of a command."""

from functools import partial
from typing import Any, ClassVar

from ..context import get_request_metadata
from ..ports import IMiddleware, IQueueSignal, Next, OutboxMessage, Placement, get_current_uow
from ..ports.outbox import OUTBOX_CHANNEL, IOutboxProvider, IOutboxStorage
from ..primitives import exceptions


class OutboxMiddleware(IMiddleware):
    """Middleware that saves a message in ``uow.outbox`` for each event.

    Messages of one aggregate share a partition key. A message has the id of its event, so that a
    receiver can recognise a repetition.

    Args:
        signal: wakes the relays after the commit.
    """

    placement: ClassVar[Placement] = Placement.INSIDE
    order: ClassVar[int] = 90

    def __init__(self, signal: IQueueSignal | None = None) -> None:
        if signal is not None:
            exceptions.arguments.ensure_instance(signal, IQueueSignal, "signal")
        self._signal = signal

    async def __call__(self, message: Any, next_: Next) -> Any:
        """Handle the message and save the events of its response as outbox messages."""
        response = await next_(message)
        if response.events:
            uow = get_current_uow()
            metadata = get_request_metadata()
            messages = [OutboxMessage.from_event(event, metadata) for event in response.events]
            await _get_outbox(uow).save_messages(messages, uow)
            if self._signal is not None and uow is not None:
                uow.on_commit(partial(self._signal.notify, OUTBOX_CHANNEL))
        return response


def _get_outbox(uow: object) -> IOutboxStorage:
    if not isinstance(uow, IOutboxProvider):
        raise exceptions.InvalidOperationError(
            f"{type(uow).__name__} carries no outbox; use a unit of work that does, or leave "
            "OutboxMiddleware out"
        )
    return uow.outbox
