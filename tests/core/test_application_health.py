"""Health of an application on the in-memory backend, and the heartbeats of its services."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest

from cqrs_ddd_core import (
    Application,
    ConfigError,
    Health,
    Heartbeat,
    IHeartbeatStore,
    InMemoryBackend,
    OutboxMessage,
    ServiceState,
)
from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryHeartbeatStore, InMemoryMessageBus
from cqrs_ddd_core.application import BackgroundService, IService
from cqrs_ddd_core.application.heartbeats import HeartbeatSender
from cqrs_ddd_core.ports import IBackend
from cqrs_ddd_core.primitives.background_service import Loops
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy


class Importer(BackgroundService):
    """Service whose loop fails on request."""

    restart_policy = ExponentialBackoffPolicy(base=0.001, maximum=0.001)

    def __init__(self) -> None:
        super().__init__()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def create_loops(self) -> Loops:
        return (self._run,)

    async def _run(self) -> None:
        await self.wait_or_stop(self.failure)
        if not self.is_stopping:
            failure, self.failure = self.failure, asyncio.get_running_loop().create_future()
            failure.result()


class ImporterService(IService):
    @property
    def name(self) -> str:
        return "importer"

    def bind(self, backend: IBackend) -> Importer:
        return Importer()


class AnsweringBackend(InMemoryBackend):
    """Backend whose outbox answers as a test tells it."""

    def __init__(self, answer: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.outbox.get_backlog = answer  # type: ignore[method-assign,assignment]


def make_heartbeat(service: str) -> Heartbeat:
    return Heartbeat(
        service=service,
        instance_id=service,
        host="worker-1",
        state="running",
        started_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )


async def find_health(
    app: Application, is_expected: Callable[[Health], bool], *, tries: int = 2000
) -> Health:
    health = await app.health()
    for _ in range(tries):
        if is_expected(health):
            return health
        await asyncio.sleep(0.001)
        health = await app.health()
    raise AssertionError(f"the health remains {health}")


async def test_application_is_ready_only_while_it_is_open() -> None:
    app = Application(InMemoryBackend())

    ready = [(await app.health()).is_ready]
    async with app:
        ready.append((await app.health()).is_ready)
    ready.append((await app.health()).is_ready)

    assert ready == [False, True, False]


async def test_health_shows_a_service_that_fails_and_that_it_runs_again() -> None:
    app = Application(InMemoryBackend(), services=[ImporterService()])

    async with app:
        importer = app.services["importer"]
        assert isinstance(importer, Importer)
        await find_health(app, lambda health: not health.dead_services)
        importer.failure.set_exception(LookupError("the password of Anna"))
        failing = await find_health(app, lambda health: bool(health.services["importer"].restarts))
        running = await find_health(
            app, lambda health: health.services["importer"].state is ServiceState.RUNNING
        )

    assert failing.services["importer"].state is ServiceState.FAILING
    assert failing.to_json()["services"]["importer"] == {
        "state": "failing",
        "restarts": 1,
        "error": "LookupError",
    }
    assert failing.is_ready
    assert running.services["importer"].restarts == 1


async def test_health_tells_the_backlog_and_the_age_of_its_oldest_message() -> None:
    app = Application(InMemoryBackend())
    await app.backend.outbox.save_messages([OutboxMessage("m-1", "Tested", {})])

    async with app:
        health = await app.health()

    assert health.backlog is not None
    assert (health.backlog.waiting, health.backlog.blocked, health.backlog.dead_letters) == (
        1,
        0,
        0,
    )
    age = health.checked_at - health.backlog.oldest_at  # type: ignore[operator]
    assert health.oldest_message_seconds == age.total_seconds() >= 0
    assert (
        Health(
            checked_at=health.checked_at, is_ready=True, services={}, dead_services=[]
        ).oldest_message_seconds
        == 0
    )


async def test_backend_that_does_not_answer_in_time_is_not_ready() -> None:
    async def ignore_cancellation() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if ended.is_set():
                    raise

    ended = asyncio.Event()
    app = Application(AnsweringBackend(ignore_cancellation), services=[ImporterService()])

    async with app:
        health = await app.health(timeout=0.01)
        ended.set()

    assert (health.is_ready, health.error_type) == (False, "TimeoutError")
    assert health.services["importer"].state is ServiceState.RUNNING
    assert (health.backlog, health.heartbeats, health.dead_services) == (None, (), [])


@pytest.mark.parametrize("error", [ConnectionResetError, asyncio.CancelledError])
async def test_error_of_the_backend_is_named_in_the_health(error: type[BaseException]) -> None:
    async def fail() -> None:
        raise error("host db-7 does not answer")

    app = Application(AnsweringBackend(fail), services=[ImporterService()])

    async with app.open(services=False):
        health = await app.health()

    assert (health.is_ready, health.error_type) == (False, error.__name__)
    assert health.dead_services == ["heartbeats", "importer"]
    assert "db-7" not in json.dumps(health.to_json())


async def test_health_check_is_cancelled_with_its_caller() -> None:
    asked = asyncio.Event()

    async def wait() -> None:
        asked.set()
        await asyncio.sleep(3600)

    async with Application(AnsweringBackend(wait)) as app:
        checking = asyncio.ensure_future(app.health(timeout=3600))
        await asked.wait()
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking


async def test_application_without_services_sees_the_services_of_another_process() -> None:
    backend = InMemoryBackend()
    worker, web = (
        Application(backend, publisher=InMemoryMessageBus(), services=[ImporterService()])
        for _ in range(2)
    )

    async with web.open(services=False):
        alone = await web.health()
        async with worker:
            served = await find_health(web, lambda health: not health.dead_services)
        left = await web.health()

    names = ["heartbeats", "importer", "outbox relay"]
    assert alone.dead_services == names
    assert [each.service for each in served.heartbeats] == names
    assert {each.state for each in served.heartbeats} == {"running"}
    assert served.services["importer"].state is ServiceState.STOPPED
    assert (left.dead_services, left.heartbeats) == (names, [])


async def test_service_of_a_killed_process_counts_as_dead_after_three_missing_heartbeats() -> None:
    backend, clock = InMemoryBackend(), FakeClock()
    backend.part(IHeartbeatStore, lambda: InMemoryHeartbeatStore(clock))
    worker, web = (Application(backend, services=[ImporterService()]) for _ in range(2))

    async with worker:
        await find_health(web, lambda health: not health.dead_services)
        await clock.advance(15)
        alive = await web.health()
        await clock.advance(0.1)
        dead = await web.health()

    assert alive.dead_services == []
    assert dead.dead_services == ["heartbeats", "importer"]
    assert len(dead.heartbeats) == 2


async def test_heartbeat_names_the_error_of_a_failing_service_without_its_text() -> None:
    backend = InMemoryBackend()
    app = Application(backend, services=[ImporterService()])
    importer = app.services["importer"]
    assert isinstance(importer, Importer)
    importer.restart_policy = ExponentialBackoffPolicy(base=3600.0, maximum=3600.0)  # type: ignore[misc]

    async with app:
        importer.failure.set_exception(LookupError("the password of Anna"))
        await find_health(app, lambda health: "importer" in health.dead_services)
        sender = app.services["heartbeats"]
        await sender.stop()
        await sender.start()
        health = await find_health(app, lambda health: len(health.heartbeats) > 0)

    assert [
        (each.state, each.error_type) for each in health.heartbeats if each.service == "importer"
    ] == [("failing", "LookupError")]


async def test_each_start_sends_heartbeats_with_an_instance_id_of_its_own() -> None:
    backend, instances = InMemoryBackend(), set[str]()
    app = Application(backend, services=[ImporterService()])

    for _ in range(2):
        async with app:
            health = await find_health(app, lambda health: len(health.heartbeats) > 0)
            instances.update(each.instance_id for each in health.heartbeats)

    assert len(instances) == 2
    assert (await app.health()).heartbeats == []


async def test_sender_repeats_its_heartbeats_until_it_stops() -> None:
    class Store(InMemoryHeartbeatStore):
        async def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
            await super().beat(heartbeats)
            beats.release()

    store, beats = Store(), asyncio.Semaphore(0)

    async with HeartbeatSender(store, {"importer": Importer()}, interval=0.001):
        for _ in range(3):
            await asyncio.wait_for(beats.acquire(), timeout=60)
        assert [each.service for each in await store.list_heartbeats()] == ["importer"]

    assert await store.list_heartbeats() == []


async def test_application_purges_heartbeats_of_the_day_before_when_it_starts() -> None:
    backend, clock = InMemoryBackend(), FakeClock()
    store = backend.part(IHeartbeatStore, lambda: InMemoryHeartbeatStore(clock))
    for service, age in [("killed yesterday", 86_399), ("killed today", 1)]:
        await store.beat([make_heartbeat(service)])
        await clock.advance(age)
    app = Application(backend, services=[ImporterService()])

    async with app:
        await find_health(app, lambda health: not health.dead_services)
        health = await app.health()

    names = [each.service for each in health.heartbeats]
    assert names == ["heartbeats", "importer", "killed today"]


def test_service_cannot_have_the_name_of_the_heartbeats() -> None:
    class Namesake(ImporterService):
        @property
        def name(self) -> str:
            return "heartbeats"

        def bind(self, backend: IBackend) -> Any:
            raise AssertionError

    with pytest.raises(ConfigError, match="two services are named 'heartbeats'"):
        Application(InMemoryBackend(), services=[Namesake()])
