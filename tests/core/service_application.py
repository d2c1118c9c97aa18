"""Applications that the tests of service processes run."""

from __future__ import annotations

import asyncio

from cqrs_ddd_core import (
    Application,
    BackgroundService,
    ConfigError,
    IBackend,
    InMemoryBackend,
    IService,
)
from cqrs_ddd_core.primitives.background_service import Loops


class Loop(BackgroundService):
    def create_loops(self) -> Loops:
        return (self._run,)

    async def _run(self) -> None:
        await self.wait(asyncio.sleep(3600))


class IgnoringLoop(Loop):
    """Loop that a database holds which does not answer."""

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue


class Service(IService):
    def __init__(self, loop: type[BackgroundService]) -> None:
        self._loop = loop

    @property
    def name(self) -> str:
        return self._loop.__name__

    def bind(self, backend: IBackend) -> BackgroundService:
        return self._loop()


app = Application(InMemoryBackend(), services=[Service(Loop)])


def create_stuck() -> Application:
    """Return an application with a service that ignores its cancellation."""
    return Application(InMemoryBackend(), services=[Service(IgnoringLoop)], grace=0.1)


class EmptyBackend(InMemoryBackend):
    async def open(self) -> None:
        raise ConfigError("the table of orders is missing")


def create_without_tables() -> Application:
    return Application(EmptyBackend(), services=[Service(Loop)])
