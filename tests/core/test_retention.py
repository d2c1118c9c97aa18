"""Service that deletes old rows of outbox and inbox."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cqrs_ddd_core import (
    Application,
    ConfigError,
    InMemoryBackend,
    Retention,
    request_context,
)
from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryInbox, InMemoryOutboxStorage
from cqrs_ddd_core.primitives.retry import FixedRetryPolicy
from cqrs_ddd_core.testing.contracts.outbox import message

DAY = 86400.0


class Backend(InMemoryBackend):
    """Backend with one clock for outbox and inbox."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.__dict__["outbox"] = InMemoryOutboxStorage(clock)
        self.__dict__["inbox"] = InMemoryInbox(clock)


async def test_retention_deletes_rows_of_all_tenants_when_their_time_is_over() -> None:
    clock = FakeClock()
    backend = Backend(clock)
    retention = Retention(
        outbox=timedelta(days=1), inbox=timedelta(days=2), interval=DAY / 2, clock=clock
    )
    for tenant_id in ("north", None):
        with request_context(tenant_id=tenant_id):
            sent = [message(None), message(None)]
            await backend.outbox.save_messages(sent)
            await backend.outbox.mark_published([sent[0].message_id])
            await backend.inbox.register("billing", "m-1", "print")

    left = []
    async with Application(backend, services=[retention]):
        for _ in range(3):
            await clock.advance(1.5 * DAY)
            left.append((len(backend.outbox._messages), len(backend.inbox._rows)))

    # Messages that are not published stay.
    assert left == [(2, 2), (2, 0), (2, 0)]
    assert await backend.inbox.register("billing", "m-1", "print") is None


async def test_retention_deletes_in_batches_until_no_old_row_is_left() -> None:
    clock = FakeClock()
    backend = Backend(clock)
    async with backend.unit_of_work() as uow:
        for number in range(2500):
            await uow.inbox.register("billing", f"m-{number}", "print")
    limits = []

    class Counting(InMemoryInbox):
        async def purge(self, *arguments: Any, limit: int = 0) -> int:
            limits.append(limit)
            return await super().purge(*arguments, limit=limit)

    backend.inbox.__class__ = Counting
    await clock.advance(2 * DAY)
    worker = Retention(outbox=timedelta(1), inbox=timedelta(1), clock=clock).bind(backend)

    assert await worker.run_once() == 2500
    assert limits == [1000, 1000, 1000]


async def test_retention_continues_after_an_error_of_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    backend = Backend(clock)
    async with backend.unit_of_work() as uow:
        await uow.inbox.register("billing", "m-1", "print")
    failures: list[Exception] = []

    class FailingOnce(InMemoryInbox):
        async def purge(self, *arguments: Any, limit: int = 0) -> int:
            if not failures:
                failures.append(ConnectionError())
                raise failures[0]
            return await super().purge(*arguments, limit=limit)

    backend.inbox.__class__ = FailingOnce
    await clock.advance(2 * DAY)
    app = Application(
        backend, services=[Retention(outbox=timedelta(1), inbox=timedelta(1), clock=clock)]
    )
    worker = app.services["retention"]
    monkeypatch.setattr(type(worker), "restart_policy", FixedRetryPolicy(delay=0.0))
    async with app:
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not backend.inbox._rows:
                break
        restarts = worker.status.restarts

    assert not backend.inbox._rows
    assert restarts == 1


@pytest.mark.parametrize("wrong", ["outbox", "inbox"])
def test_retention_that_keeps_no_message_is_rejected(wrong: str) -> None:
    periods: dict[str, Any] = {
        "outbox": timedelta(days=1),
        "inbox": timedelta(days=1),
        wrong: timedelta(),
    }
    with pytest.raises(ConfigError, match=f"^{wrong}=0:00:00 keeps no message"):
        Retention(**periods)
