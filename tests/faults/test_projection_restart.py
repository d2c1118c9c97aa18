"""Tests of a database server that is restarted while a projection worker runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cqrs_ddd_persistence_sqlalchemy import create_schema
from tests.advanced.till_domain import ItemSold, Tills, new_till, open_and_sell, to_stored
from tests.faults.crashing import Place
from tests.faults.projecting import Findings, create_worker, judge
from tests.faults.selling import create_environment
from tests.persistence_sqlalchemy.conftest import asyncpg_url
from tests.processes import serve
from tests.services import SOURCES, Postgres, running, wait_until_it_answers


class Stoppable(Postgres):
    """Server that can be stopped and started again in its folder."""

    room: Path
    port: int
    program: Path

    def prepare(self, program: Path, room: Path) -> Path:
        self.program = super().prepare(program, room)
        return self.program

    def command(self, room: Path, port: int) -> tuple[list[str | Path], str]:
        self.room, self.port = room, port
        arguments, settings = super().command(room, port)
        return list(arguments), settings

    async def stop(self) -> None:
        """Stop the server, which ends all connections and rejects new connections."""
        pid_file = self.room / "data/postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), self.stop_signal)
        while pid_file.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    @contextmanager
    def start_again(self) -> Iterator[None]:
        arguments, settings = self.command(self.room, self.port)
        with serve(
            self.account,
            [self.program, *arguments],
            self.room,
            settings=settings,
            stop_signal=self.stop_signal,
        ) as server:
            wait_until_it_answers(self, server, self.url(self.port))
            yield


@pytest.fixture
def server() -> Iterator[Stoppable]:
    product = Stoppable()
    with running(product, sources=SOURCES):
        yield product


async def test_projection_worker_resumes_after_a_restart_of_the_database(
    server: Stoppable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, till = Place(asyncpg_url(server.url(server.port)), "restarted", tmp_path), new_till()
    findings = Findings()
    async with place.engine() as engine:
        await create_schema(engine, place.tables)
        environment = create_environment(place, engine)
        await environment.append(to_stored(till, open_and_sell(1, 2)))
        with ExitStack() as servers:
            async with create_worker(environment, [Tills()]):
                assert await environment.positions.wait_until(3, [Tills.collection], timeout=20.0)
                await server.stop()
                while caplog.text.count("projection worker") < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                servers.enter_context(server.start_again())
                async with place.engine() as another:
                    await create_environment(place, another).append(
                        to_stored(till, [ItemSold(cents=3)], after=3)
                    )
                assert await environment.positions.wait_until(4, [Tills.collection], timeout=20.0)
            await judge(environment, findings, [Tills()])

    assert findings.events == 4
    assert findings.faults == 0, findings
