"""Commands and scripts on a client of redis-py, and its errors in our words."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from hashlib import sha1
from importlib import resources
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.primitives.shielding import OwnCancellation, run_to_completion

T = TypeVar("T")

FAILURES = (RedisError, OSError, asyncio.TimeoutError, RuntimeError)
"""What the driver raises; a RuntimeError where its event loop was closed."""

_AGAIN = 0.1
"""Seconds between two cancellations of a command that does not end at the first."""


def refuse_client(client: object) -> None:
    """Raises ``ConfigError`` for what is no client of redis.asyncio."""
    if not isinstance(client, Redis):
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        raise ConfigError(
            f"a client of redis.asyncio is needed, got {kind}; make it by "
            "redis.asyncio.Redis.from_url(...)",
            variable="client",
        )


class Script:
    """Lua that a server runs as one step, called by its hash.

    A server that does not know the hash, such as one that was restarted, is given the text.
    ``Redis.register_script`` does the same for a tenth more of the time of a call.
    """

    def __init__(self, client: Redis, text: str) -> None:
        self._execute: Callable[..., Awaitable[Any]] = client.execute_command
        self._text = text
        self._hash = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(
        self, keys: Sequence[str | bytes], args: Sequence[str | bytes | int | float]
    ) -> Any:
        try:
            return await self._execute("EVALSHA", self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return await self._execute("EVAL", self._text, len(keys), *keys, *args)


def load_script(client: Redis, folder: str, *files: str) -> Script:
    """The text of these files, one after the other, as one script."""
    refuse_client(client)
    package = resources.files("cqrs_ddd_redis").joinpath(folder)
    return Script(client, "\n".join(package.joinpath(file).read_text("utf-8") for file in files))


class Limit:
    """Calls ``end`` after so many seconds, and again and again: redis-py can swallow it."""

    __slots__ = ("_end", "_loop", "_timer")

    def __init__(self, end: Callable[[], object], seconds: float) -> None:
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._call)

    def _call(self) -> None:
        self._timer = self._loop.call_later(_AGAIN, self._call)
        self._end()

    def stop(self) -> None:
        self._timer.cancel()


async def answered(command: Coroutine[Any, Any, T], *, within: float) -> T:
    """What the server answers; raises ``asyncio.TimeoutError`` after so many seconds.

    Every command goes this way. Whoever is cancelled meanwhile does not know whether it was carried
    out. On Python 3.10 and 3.11 redis-py can swallow a cancellation; here it is raised anyhow.
    """
    if sys.version_info < (3, 11):
        return await _answered_in_a_task(command, within)
    expiry = OwnCancellation()
    limit = Limit(expiry.cancel, within)
    try:
        answer = await command
    except asyncio.CancelledError:
        if expiry.undo() and expiry.was_made:
            raise asyncio.TimeoutError(f"no answer within {within} s") from None
        raise
    finally:
        limit.stop()
        is_alone = expiry.undo()
    if not is_alone:
        raise asyncio.CancelledError
    return answer


async def _answered_in_a_task(command: Coroutine[Any, Any, T], within: float) -> T:
    """For Python 3.10, where a task cannot tell that it was cancelled: another one is."""
    task = asyncio.get_running_loop().create_task(command)
    limit = Limit(task.cancel, within)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError as cancelled:
        await run_to_completion(_end_of(task))
        if not task.cancelled():
            task.exception()  # Seen: nobody asks for it any more.
        raise cancelled
    finally:
        limit.stop()
    if task.cancelled():
        raise asyncio.TimeoutError(f"no answer within {within} s")
    return task.result()


async def _end_of(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


def text_of(answer: bytes | str) -> str:
    """A client may decode what it reads, or not."""
    return answer.decode() if isinstance(answer, bytes) else answer


def explain(operation: str, error: BaseException) -> str:
    """What to say of ``FAILURES``."""
    if isinstance(error, ResponseError):
        return f"cannot {operation}: the Redis server says {error}"
    reason = str(error).rstrip(".") or type(error).__name__
    return f"cannot {operation}: {reason}; is the Redis server there?"
