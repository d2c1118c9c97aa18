"""Middleware that handles each command once, by the inbox of the unit of work."""

from functools import cache
from typing import Any, ClassVar

from pydantic import TypeAdapter

from ..cqrs.handlers import find_declared_result
from ..messages import Command, CommandResponse
from ..ports import IMiddleware, Next, Placement, get_current_uow
from ..spi.inbox import compute_fingerprint, get_inbox

_ENVELOPE = {"command_id", "correlation_id"}


class IdempotencyMiddleware(IMiddleware):
    """Middleware that records each command in ``uow.inbox``, in the transaction of its effects.

    It records nested commands, too.

    The response to a repetition has the stored result and no events. A command that failed leaves
    no record and is handled again. List it before the other middlewares inside the unit of work.

    Args:
        consumer: name under which the inbox records the commands.

    Raises:
        DuplicateCommandError: a command with the same id was handled with different content.
    """

    placement: ClassVar[Placement] = Placement.INSIDE
    order: ClassVar[int] = 20
    includes_nested: ClassVar[bool] = True

    def __init__(self, consumer: str = "commands") -> None:
        self._consumer = consumer

    async def __call__(self, message: Any, next_: Next) -> Any:
        """Return the stored result of a repeated command; handle a new one and record it."""
        if not isinstance(message, Command):
            return await next_(message)
        uow = get_current_uow()
        inbox = get_inbox(uow)
        name = type(message).__name__
        # A release may add fields with a default, and move the class.
        content = [
            name,
            message.model_dump(mode="json", exclude=_ENVELOPE, exclude_defaults=True),
        ]
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
