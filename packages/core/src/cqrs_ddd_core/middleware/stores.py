"""Middlewares that write to the stores of the unit of work, in its transaction."""

from functools import cache, partial
from typing import Any, ClassVar

from pydantic import TypeAdapter

from ..context import get_request_metadata
from ..cqrs.handlers import find_declared_result
from ..messages import Command, CommandResponse
from ..ports import IMiddleware, IQueueSignal, Next, OutboxMessage, Placement, get_current_uow
from ..ports.event_store import IEventStore, IEventStoreProvider, StoredEvent
from ..ports.outbox import OUTBOX_CHANNEL, IOutboxProvider, IOutboxStorage
from ..primitives.exceptions import InvalidOperationError
from ..spi.inbox import compute_fingerprint, get_inbox

_ENVELOPE = {"command_id", "correlation_id"}


class EventStorePersistenceMiddleware(IMiddleware):
    """Appends the events to ``uow.event_store``; tenant and user go into their metadata.

    Events that an event-sourced repository has already appended are left out.
    """

    placement: ClassVar[Placement] = Placement.INSIDE

    async def __call__(self, message: Any, next_: Next) -> Any:
        response = await next_(message)
        if response.events:
            uow = get_current_uow()
            events = list(response.events)
            if uow is not None:
                events = uow.aggregates.exclude_appended(events)
            if events:
                metadata = get_request_metadata()
                stored = [StoredEvent.from_event(event, metadata) for event in events]
                await _get_event_store(uow).append_batch(stored)
        return response


class OutboxMiddleware(IMiddleware):
    """Saves a message for each event; messages of one aggregate share a partition key.

    A message has the id of its event, so that a receiver can recognise a repetition. After the
    commit ``signal`` wakes the relays.
    """

    placement: ClassVar[Placement] = Placement.INSIDE

    def __init__(self, signal: IQueueSignal | None = None) -> None:
        self._signal = signal

    async def __call__(self, message: Any, next_: Next) -> Any:
        response = await next_(message)
        if response.events:
            uow = get_current_uow()
            metadata = get_request_metadata()
            messages = [OutboxMessage.from_event(event, metadata) for event in response.events]
            await _get_outbox(uow).save_messages(messages, uow)
            if self._signal is not None and uow is not None:
                uow.on_commit(partial(self._signal.notify, OUTBOX_CHANNEL))
        return response


class IdempotencyMiddleware(IMiddleware):
    """Records each command in ``uow.inbox``, in the transaction of its effects.

    The response to a repetition has the stored result and no events. A command that failed leaves
    no record and is handled again. Raises ``DuplicateCommandError`` for an id with another content.
    List it before the other middlewares inside the unit of work.
    """

    placement: ClassVar[Placement] = Placement.INSIDE

    def __init__(self, consumer: str = "commands") -> None:
        self._consumer = consumer

    async def __call__(self, message: Any, next_: Next) -> Any:
        if not isinstance(message, Command):
            return await next_(message)
        uow = get_current_uow()
        inbox = get_inbox(uow)
        name = f"{type(message).__module__}.{type(message).__qualname__}"
        content = [name, message.model_dump(mode="json", exclude=_ENVELOPE)]
        fingerprint = compute_fingerprint(content)
        known = await inbox.register(self._consumer, message.command_id, fingerprint, uow)
        adapter = _get_result_adapter(type(message))
        if known is not None:
            return CommandResponse(adapter.validate_python(known.outcome))
        response = await next_(message)
        outcome = adapter.dump_python(response.result, mode="json")
        await inbox.store_outcome(self._consumer, message.command_id, outcome, uow)
        return response


@cache
def _get_result_adapter(message_type: type) -> TypeAdapter[object]:
    return TypeAdapter(find_declared_result(message_type))


def _get_event_store(uow: object) -> IEventStore:
    if not isinstance(uow, IEventStoreProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no event_store; use a unit of work that does, or leave "
            "EventStorePersistenceMiddleware out"
        )
    return uow.event_store


def _get_outbox(uow: object) -> IOutboxStorage:
    if not isinstance(uow, IOutboxProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no outbox; use a unit of work that does, or leave "
            "OutboxMiddleware out"
        )
    return uow.outbox
