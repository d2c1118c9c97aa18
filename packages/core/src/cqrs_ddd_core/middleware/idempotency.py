"""A command that is sent twice is handled once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, ClassVar

from pydantic import TypeAdapter

from ..cqrs.binding import declared_result
from ..messages import Command, CommandResponse
from ..ports.middleware import IMiddleware, Placement
from ..ports.unit_of_work import get_current_uow
from ..spi.inbox import compute_fingerprint, get_inbox

_ENVELOPE = {"command_id", "correlation_id"}


class IdempotencyMiddleware(IMiddleware):
    """Remembers each command in ``uow.inbox``, in the transaction of its effects.

    A repetition is answered with the stored result, without events. A command that failed left no
    trace and is handled again. The same id with another content is a ``DuplicateCommandError``.
    List it before the other middlewares inside the unit of work.
    """

    placement: ClassVar[Placement] = Placement.INSIDE

    def __init__(self, consumer: str = "commands") -> None:
        self._consumer = consumer

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        if not isinstance(message, Command):
            return await next_(message)
        uow = get_current_uow()
        inbox = get_inbox(uow)
        name = f"{type(message).__module__}.{type(message).__qualname__}"
        fingerprint = compute_fingerprint(
            [name, message.model_dump(mode="json", exclude=_ENVELOPE)]
        )
        known = await inbox.register(self._consumer, message.command_id, fingerprint, uow)
        if known is not None:
            return CommandResponse(_results(type(message)).validate_python(known.outcome))
        response = await next_(message)
        outcome = _results(type(message)).dump_python(response.result, mode="json")
        await inbox.store_outcome(self._consumer, message.command_id, outcome, uow)
        return response


@cache
def _results(message_type: type) -> TypeAdapter[Any]:
    return TypeAdapter(declared_result(message_type))
