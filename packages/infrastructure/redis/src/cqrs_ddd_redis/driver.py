"""Commands and scripts on a client of redis-py, and its errors in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cqrs_ddd_core.primitives.exceptions import InfrastructureError
from cqrs_ddd_core.primitives.shielding import finish

T = TypeVar("T")


class Script(Protocol):
    """Lua that the server runs as one step."""

    def __call__(
        self, keys: Sequence[str], args: Sequence[str | bytes | int | float]
    ) -> Coroutine[Any, Any, Any]: ...


def load_script(client: Redis, folder: str, *files: str) -> Script:
    """The text of these files as one script, called by its hash.

    A server that does not know the hash, such as one that was restarted, is given the text.
    """
    package = resources.files("cqrs_ddd_redis").joinpath(folder)
    text = "\n".join(package.joinpath(file).read_text("utf-8") for file in files)
    script: Script = client.register_script(text)
    return script


async def answered(command: Coroutine[Any, Any, T], *, within: float) -> T:
    """What the server answers; raises ``asyncio.TimeoutError`` after so many seconds.

    Every command goes this way, in a task of its own, since redis-py must not be cancelled: on
    Python 3.10 and 3.11 it can swallow that, and its connection would have to be made anew. Whoever
    is cancelled meanwhile is so when the answer, or the end of the time, has come.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(command)
    timer = loop.call_later(within, task.cancel)
    ended: asyncio.Future[None] = loop.create_future()

    def end(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    task.add_done_callback(end)
    try:
        await ended
    except asyncio.CancelledError as cancelled:
        await finish(_end_of(task))
        if not task.cancelled():
            task.exception()  # Seen: nobody asks for it any more.
        raise cancelled
    finally:
        timer.cancel()
    if task.cancelled():
        raise asyncio.TimeoutError(f"no answer within {within} s")
    return task.result()


async def _end_of(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


@contextmanager
def translated(kind: type[InfrastructureError], doing: str) -> Iterator[None]:
    """Whatever the driver raises, and a time that ran out, as ``kind``."""
    try:
        yield
    except (RedisError, OSError, asyncio.TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise kind(f"cannot {doing}: {reason}; is the Redis server there?") from error
