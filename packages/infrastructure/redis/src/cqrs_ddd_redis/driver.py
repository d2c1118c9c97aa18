"""Commands and scripts on a redis-py client in bounded time, and descriptions of its errors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Coroutine, Sequence
from hashlib import sha1
from importlib import resources
from typing import Any, TypeVar

from redis import exceptions as replies
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.primitives.shielding import OwnCancellation, run_to_completion

T = TypeVar("T")
Command = Coroutine[None, None, Any]
Execute = Callable[..., Command]
"""Type of ``execute_command`` of a client, which redis-py does not annotate."""

Argument = str | bytes | int | float

FAILURES = (RedisError, OSError, asyncio.TimeoutError, RuntimeError)
"""Errors of the driver, which raises RuntimeError if its event loop has been closed."""

_TEMPORARY_REPLIES = (
    replies.ClusterDownError,
    replies.OutOfMemoryError,
    replies.ReadOnlyError,
    replies.TryAgainError,
)
_TEMPORARY_CODES = ("BUSY", "MISCONF", "NOREPLICAS")
"""Codes of further replies that may succeed later, for which redis-py has no class."""
_CANCEL_INTERVAL = 0.1
"""Seconds between two cancellations of a command that has swallowed the first one."""


def get_execute(client: object) -> Execute:
    """Return the function that sends a command.

    Raises:
        ConfigError: the client is not a client of ``redis.asyncio``.
    """
    if not isinstance(client, Redis):
        kind = client if isinstance(client, type) else type(client)
        given = f"{'the class ' if kind is client else ''}{kind.__module__}.{kind.__qualname__}"
        message = f"expected a client of redis.asyncio, got {given}; call Redis.from_url(...)"
        raise ConfigError(message, variable="client")
    execute: Execute = client.execute_command
    return execute


def ensure_namespace(namespace: object, reserved: Collection[str] = ()) -> None:
    """Raise ``ConfigError`` unless the namespace is a text without ``reserved`` between colons."""
    if isinstance(namespace, str) and namespace and not set(reserved) & set(namespace.split(":")):
        return
    names = f" without {', '.join(sorted(reserved))} between two colons" if reserved else ""
    raise ConfigError(
        f"namespace must be a text{names}, such as the name of the application, got {namespace!r}",
        variable="namespace",
    )


class Script:
    """Lua script that a server runs atomically, called by its hash.

    A server that does not know the hash, such as a restarted server, receives the text. This takes
    a tenth less time per call than ``Redis.register_script``.

    Args:
        client: client of ``redis.asyncio``.
        text: Lua code.
    """

    def __init__(self, client: Redis, text: str) -> None:
        self._execute = get_execute(client)
        self._text = text
        self._hash = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str | bytes], args: Sequence[Argument]) -> Any:
        """Run the script and return its reply."""
        try:
            return await self._execute("EVALSHA", self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return await self._execute("EVAL", self._text, len(keys), *keys, *args)


def load_script(client: Redis, folder: str, *files: str) -> Script:
    """Join the files of the folder to one script."""
    package = resources.files("cqrs_ddd_redis").joinpath(folder)
    return Script(client, "\n".join(package.joinpath(file).read_text("utf-8") for file in files))


class Deadline:
    """Timer that calls ``end`` repeatedly, since redis-py can swallow a cancellation.

    Args:
        end: ends the work, for example by a cancellation.
        seconds: time until the first call.
    """

    __slots__ = ("_end", "_loop", "_timer")

    def __init__(self, end: Callable[[], object], seconds: float) -> None:
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._call)

    def _call(self) -> None:
        self._timer = self._loop.call_later(_CANCEL_INTERVAL, self._call)
        self._end()

    def stop(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()


async def execute_with_timeout(command: Coroutine[None, None, T], timeout: float) -> T:
    """Await a command, raising one of ``FAILURES`` after ``timeout`` seconds.

    After a timeout or a cancellation it is unknown whether the server has run the command. On
    Python 3.10 and 3.11 redis-py can swallow a cancellation; this function raises it nevertheless.
    """
    if sys.version_info < (3, 11):
        return await _execute_in_task(command, timeout)
    handled = sys.exc_info()[1]
    expiry = OwnCancellation()
    deadline = Deadline(expiry.cancel, timeout)
    try:
        reply = await command
    except asyncio.CancelledError as cancelled:
        if expiry.undo() and expiry.was_made:
            raise build_timeout_error(cancelled, timeout, handled) from None
        raise
    finally:
        deadline.stop()
        is_only_ours = expiry.undo()
    if not is_only_ours:
        raise asyncio.CancelledError
    return reply


async def _execute_in_task(command: Coroutine[None, None, T], timeout: float) -> T:
    """Run the command in a task: Python 3.10 does not count the cancellations of a task."""
    task = asyncio.get_running_loop().create_task(end_with_its_error(command, timeout))
    deadline = Deadline(task.cancel, timeout)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError as cancelled:
        await wait_for_end([task])
        raise cancelled
    finally:
        deadline.stop()
    if (error := find_error(task, timeout)) is not None:
        raise error
    return task.result()


async def end_with_its_error(command: Coroutine[None, None, T], timeout: float) -> T:
    """Await a command in a task of its own, and replace its cancellation by an error.

    Only inside the task is the context of the cancellation the error of redis-py; the caller may be
    handling an error of the application.
    """
    handled = sys.exc_info()[1]
    try:
        return await command
    except asyncio.CancelledError as cancelled:
        raise build_timeout_error(cancelled, timeout, handled) from None


def find_error(task: asyncio.Task[T], timeout: float) -> BaseException | None:
    """Return the error of a task that has ended, also if it was cancelled before its begin."""
    if task.cancelled():
        return asyncio.TimeoutError(f"no reply within {timeout} s")
    return task.exception()


def build_timeout_error(
    cancelled: asyncio.CancelledError, timeout: float, handled: BaseException | None
) -> Exception:
    """Return the error of a command that was cancelled after ``timeout`` seconds.

    It is the error that redis-py was about to repeat, such as a rejected password, if there is one.

    Args:
        cancelled: cancellation of the command.
        timeout: seconds after which the command was cancelled.
        handled: error that the caller was handling before the command, which ends the search: a
            client that raises its own cancellation gets that error as the context.
    """
    context: BaseException | None = cancelled
    while context is not None and context is not handled:
        if isinstance(context, (RedisError, OSError)):
            return context
        context = context.__context__
    return asyncio.TimeoutError(f"no reply within {timeout} s")


async def wait_for_end(tasks: Sequence[asyncio.Task[T]]) -> None:
    """Wait for tasks even when cancelled, and ignore their errors."""

    async def wait() -> None:
        await asyncio.wait(tasks)

    await run_to_completion(wait())
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asyncio logs errors that are never retrieved.


def decode_text(reply: bytes | str) -> str:
    """Return a reply as text, even if the client does not decode; replace invalid bytes."""
    return reply.decode(errors="replace") if isinstance(reply, bytes) else reply


def is_permanent(error: BaseException | None) -> bool:
    """Return whether every further try would fail, as with a wrong password."""
    if isinstance(error, (replies.AuthenticationError, replies.AuthorizationError)):
        return True
    return (
        isinstance(error, ResponseError)
        and not isinstance(error, _TEMPORARY_REPLIES)
        and not str(error).startswith(_TEMPORARY_CODES)
    )


def describe_error(operation: str, error: BaseException) -> str:
    """Return the message for one of ``FAILURES``."""
    reply = str(error).partition(", with args")[0]  # The server repeats the arguments.
    if is_permanent(error):
        return (
            f"cannot {operation}: the Redis server replied {reply!r}; check the password, the "
            "permissions and the database of the client"
        )
    if isinstance(error, ResponseError):
        return f"cannot {operation}: the Redis server replied {reply!r}"
    reason = str(error).rstrip(".") or type(error).__name__
    return f"cannot {operation}: {reason}; check that the Redis server is running"
