"""Middleware that handles each command once, by the inbox of the unit of work."""

from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar

import pydantic

from ..cqrs.handlers import find_declared_result
from ..messages import Command, CommandResponse
from ..ports import IMiddleware, Next, Placement, get_current_uow
from ..primitives import exceptions
from ..primitives.json_form import JsonForm
from ..spi.fingerprints import compute_command_fingerprint
from ..spi.inbox import get_inbox

_running: ContextVar[tuple[str, ...]] = ContextVar("running_commands", default=())
"""Ids of the command that is being handled, and of the commands that it is nested in."""


class IdempotencyMiddleware(IMiddleware):
    """Middleware that records each command in ``uow.inbox``, in the transaction of its effects.

    It records nested commands, too.

    The response to a repetition has the stored result and no events. A command that failed leaves
    no record and is handled again. List it before the other middlewares inside the unit of work.

    Two commands have the same content if their names and the fields that their senders set are
    equal; a field that equals its default counts as not set. Secrets count with their values.

    Args:
        consumer: name under which the inbox records the commands.

    Raises:
        InvalidOperationError: a handler sends a command with the id of its own command.
        DuplicateCommandError: a command with the same id was handled with different content.
        ResultNotRememberedError: the command was handled, and its class does not keep the result.
        SerializationError: JSON does not keep the result, or the content cannot be written as JSON.
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
        # Before the command has an effect, as the class may declare a result that JSON never keeps.
        form = _find_result_form(type(message)) if message.remember_result else None
        running = _running.get()
        if message.command_id in running:
            raise exceptions.InvalidOperationError(
                f"{type(message).__name__} is sent with the command_id of a command that is still "
                "being handled, so it has no result yet; give it an id of its own"
            )
        uow = get_current_uow()
        inbox = get_inbox(uow)
        fingerprint = await compute_command_fingerprint(message)
        known = await inbox.register(self._consumer, message.command_id, fingerprint, uow)
        if known is not None:
            return CommandResponse(_restore(message, form, known.outcome))
        outer = _running.set((*running, message.command_id))
        try:
            response = await next_(message)
        finally:
            _running.reset(outer)
        if form is not None:
            outcome = form.write(response.result)
            await inbox.store_outcome(self._consumer, message.command_id, outcome, uow)
        return response


def _restore(command: Command, form: JsonForm[object] | None, outcome: object) -> object:
    name = type(command).__name__
    if form is None:
        raise exceptions.ResultNotRememberedError.already_handled(name, command.command_id)
    try:
        return form.read(outcome)
    except pydantic.ValidationError as error:
        raise exceptions.SerializationError(
            f"the stored result of {name} {command.command_id} does not fit its class: "
            f"{exceptions.describe_error(error)}; read its effect with a query",
            type_name=name,
        ) from exceptions.ConcealedError(error)


@cache
def _find_result_form(command_type: type) -> JsonForm[object]:
    return JsonForm(find_declared_result(command_type), f"the result of {command_type.__name__}")
