"""Commands and scripts on a client of redis-py, in bounded time, and descriptions of its errors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha1
from importlib import resources
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.primitives.shielding import OwnCancellation, run_to_completion

T = TypeVar("T")
Command = Coroutine[None, None, Any]
Execute = Callable[..., Command]
"""``execute_command`` of a client, which redis-py leaves without types."""

Argument = str | bytes | int | float

FAILURES = (RedisError, OSError, asyncio.TimeoutError, RuntimeError)
"""Errors of the driver; it raises RuntimeError if its event loop was closed."""

_CANCEL_INTERVAL = 0.1
"""Seconds between two cancellations of a command that does not end at the first."""


def get_execute(client: object) -> Execute:
    """Return the function that sends a command; raise ``ConfigError`` for any other client."""
    if not isinstance(client, Redis):
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        message = f"a client of redis.asyncio is needed, got {kind}; call Redis.from_url(...)"
        raise ConfigError(message, variable="client")
    execute: Execute = client.execute_command
    return execute


class Script:
    """Lua that a server runs as one step, called by its hash.

    A server that does not know the hash, such as a restarted one, receives the text.
    ``Redis.register_script`` does the same for a tenth more of the time of a call.
    """

    def __init__(self, client: Redis, text: str) -> None:
        self._execute = get_execute(client)
        self._text = text
        self._hash = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str | bytes], args: Sequence[Argument]) -> Any:
        try:
            return await self._execute("EVALSHA", self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return await self._execute("EVAL", self._text, len(keys), *keys, *args)


def load_script(client: Redis, folder: str, *files: str) -> Script:
    """Join the text of these files to one script."""
    package = resources.files("cqrs_ddd_redis").joinpath(folder)
    return Script(client, "\n".join(package.joinpath(file).read_text("utf-8") for file in files))


class Deadline:
    """Timer that calls ``end`` repeatedly, since redis-py can swallow a cancellation."""

    __slots__ = ("_end", "_loop", "_timer")

    def __init__(self, end: Callable[[], object], seconds: float) -> None:
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._call)

    def _call(self) -> None:
        self._timer = self._loop.call_later(_CANCEL_INTERVAL, self._call)
        self._end()

    def stop(self) -> None:
        self._timer.cancel()


async def execute_with_timeout(command: Coroutine[None, None, T], timeout: float) -> T:
    """Await a command, raising ``asyncio.TimeoutError`` after ``timeout`` seconds.

    After a timeout or a cancellation it is unknown whether the server ran the command. On Python
    3.10 and 3.11 redis-py can swallow a cancellation; it is raised here all the same.
    """
    if sys.version_info < (3, 11):
        return await _execute_in_task(command, timeout)
    expiry = OwnCancellation()
    deadline = Deadline(expiry.cancel, timeout)
    try:
        reply = await command
    except asyncio.CancelledError:
        if expiry.undo() and expiry.was_made:
            raise asyncio.TimeoutError(f"no answer within {timeout} s") from None
        raise
    finally:
        deadline.stop()
        is_only_ours = expiry.undo()
    if not is_only_ours:
        raise asyncio.CancelledError
    return reply


async def _execute_in_task(command: Coroutine[None, None, T], timeout: float) -> T:
    """Run the command in a task: Python 3.10 does not count the cancellations of a task."""
    task = asyncio.get_running_loop().create_task(command)
    deadline = Deadline(task.cancel, timeout)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError as cancelled:
        await wait_for_end([task])
        raise cancelled
    finally:
        deadline.stop()
    if task.cancelled():
        raise asyncio.TimeoutError(f"no answer within {timeout} s")
    return task.result()


async def wait_for_end(tasks: Sequence[asyncio.Task[T]]) -> None:
    """Wait for tasks even when cancelled, and ignore their errors."""

    async def wait() -> None:
        await asyncio.wait(tasks)

    await run_to_completion(wait())
    for task in tasks:
        if not task.cancelled():
            task.exception()  # Retrieved, so that asyncio does not log it.


def decode_text(reply: bytes | str) -> str:
    """Return text, whether the client decodes replies or not; other bytes are replaced."""
    return reply.decode(errors="replace") if isinstance(reply, bytes) else reply


def describe_error(operation: str, error: BaseException) -> str:
    """Return the message for one of ``FAILURES``."""
    if isinstance(error, ResponseError):
        return f"cannot {operation}: the Redis server says {error}"
    reason = str(error).rstrip(".") or type(error).__name__
    return f"cannot {operation}: {reason}; is the Redis server there?"
