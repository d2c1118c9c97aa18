"""Independent servers that are asked at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.asyncio import Redis

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_core.primitives.shielding import run_to_completion

from ..driver import FAILURES, Limit, Script, answered, load_script

_REST = 10.0
"""Seconds for which a server that did not answer is not waited for as long as others are."""
_BRIEFLY = 0.05
"""Which part of the usual time it is given meanwhile."""


@dataclass(frozen=True)
class Answers:
    """Of each server in order, ``None`` where there is none; ``reason`` says why one is missing."""

    values: Sequence[Any]
    reason: BaseException | None

    @property
    def silent(self) -> int:
        return sum(value is None for value in self.values)


class Servers:
    """Asks all, and waits until each has answered, or had the time for it.

    A server that was silent is given less time for a while, unless the majority depends on it. So a
    dead one of three holds up a call every ten seconds, not every call.
    """

    def __init__(self, clients: Sequence[Redis], *, response_timeout: float, clock: IClock) -> None:
        if not clients or len({id(client) for client in clients}) < len(clients):
            raise InvalidOperationError(
                f"{len(clients)} clients do not make a majority; give one for each server, "
                "best an odd number of servers that do not fail together"
            )
        self._clients = clients
        self._response_timeout = response_timeout
        self._clock = clock
        self._silent_until: dict[int, float] = {}
        self.majority = len(clients) // 2 + 1

    def load(self, *files: str) -> list[Script]:
        return [load_script(client, "locking", *files) for client in self._clients]

    async def ask(
        self, scripts: Sequence[Script], keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Answers:
        """Every server is asked; no command runs on when this returns or raises.

        Whoever is cancelled meanwhile does not know which of them were carried out.
        """
        if len(scripts) == 1:
            return await self._ask_the_only_one(scripts[0](keys, arguments))
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(script(keys, arguments)) for script in scripts]
        resting = self._resting()
        limits = [Limit(partial(_cancel, tasks), self._response_timeout)]
        if resting:
            brief = [tasks[number] for number in resting]
            limits.append(Limit(partial(_cancel, brief), self._response_timeout * _BRIEFLY))
        try:
            await _all_ended(loop, tasks)
        except asyncio.CancelledError as cancelled:
            await run_to_completion(_ends_of(tasks))
            for task in tasks:
                _error_of(task)  # Seen: nobody asks for it any more.
            raise cancelled
        finally:
            for limit in limits:
                limit.stop()
        return self._answers(tasks, resting)

    async def _ask_the_only_one(self, command: Coroutine[Any, Any, Any]) -> Answers:
        """Without a task, which costs a fifth of the time of a command."""
        try:
            return Answers([await answered(command, within=self._response_timeout)], None)
        except FAILURES as error:
            return Answers([None], error)

    def _resting(self) -> Collection[int]:
        if not self._silent_until:
            return ()
        now = self._clock.monotonic()
        resting = [number for number, until in self._silent_until.items() if now < until]
        return resting if len(self._clients) - len(resting) >= self.majority else ()

    def _answers(self, tasks: Sequence[asyncio.Task[Any]], resting: Collection[int]) -> Answers:
        errors = [_error_of(task) for task in tasks]
        values: list[Any] = []
        reason: BaseException | None = None
        for number, error in enumerate(errors):
            if error is None:
                values.append(tasks[number].result())
                self._silent_until.pop(number, None)
                continue
            if not isinstance(error, FAILURES):
                raise error
            values.append(None)
            reason = error
            if number not in resting:
                self._silent_until[number] = self._clock.monotonic() + _REST
        return Answers(values, reason)


def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def _all_ended(
    loop: asyncio.AbstractEventLoop, tasks: Sequence[asyncio.Task[Any]]
) -> asyncio.Future[None]:
    """As ``asyncio.wait`` without its sets, which take a tenth of the time of a command."""
    ended: asyncio.Future[None] = loop.create_future()
    missing = len(tasks)

    def end(_: object) -> None:
        nonlocal missing
        missing -= 1
        if not missing and not ended.done():
            ended.set_result(None)

    for task in tasks:
        task.add_done_callback(end)
    return ended


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.TimeoutError("no answer in time") if task.cancelled() else task.exception()


async def _ends_of(tasks: Sequence[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)
