"""Services: loops that fail are started again, and a stop has a limit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest

from cqrs_ddd_core import FixedRetryPolicy, InfrastructureError, RetryPolicy
from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryQueueSignal,
)
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.primitives.background_service import (
    BackgroundService,
    Loops,
    ServiceState,
    ServiceStatus,
)
from cqrs_ddd_core.primitives.shielding import isolate


class Service(BackgroundService):
    """Service with one loop, whose calls follow a script."""

    restart_policy: ClassVar[RetryPolicy] = FixedRetryPolicy(delay=0.0)

    def __init__(self, *calls: Callable[[Service], Awaitable[None]]) -> None:
        super().__init__()
        self._calls = list(calls)
        self.was_called = asyncio.Event()

    def create_loops(self) -> Loops:
        return (self._run,)

    async def _run(self) -> None:
        call = self._calls.pop(0)
        if not self._calls:
            self.was_called.set()
        await call(self)


async def run_until_stopped(service: Service) -> None:
    await service.wait(asyncio.sleep(3600))


async def fail(service: Service) -> None:
    raise LookupError("the loop is broken")


async def raise_cancelled(service: Service) -> None:
    raise asyncio.CancelledError


async def end(service: Service) -> None:
    """End the loop."""


async def ignore_the_stop(service: Service) -> None:
    await asyncio.sleep(3600)


async def ignore_the_cancellation(service: Service) -> None:
    for _ in range(2):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


async def test_background_service_reports_that_it_runs_and_that_it_is_stopped() -> None:
    service = Service(run_until_stopped)
    states = [service.status.state]

    async with service:
        states.append(service.status.state)

    assert [*states, service.status.state] == [
        ServiceState.STOPPED,
        ServiceState.RUNNING,
        ServiceState.STOPPED,
    ]


@pytest.mark.parametrize(
    ("call", "error"), [(fail, LookupError), (raise_cancelled, InfrastructureError)]
)
async def test_failed_loop_of_a_service_is_logged_reported_and_started_again(
    call: Any, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(call, call, run_until_stopped)

    async with service:
        await service.was_called.wait()
        status = service.status

    assert (status.state, status.restarts) == (ServiceState.FAILING, 2)
    assert isinstance(status.error, error)
    assert caplog.text.count("a loop of Service failed; it starts again in 0.0 s") == 2


async def test_restarted_loop_of_a_service_counts_as_running_after_a_second() -> None:
    service = Service(fail, run_until_stopped)
    now = 0.0

    async with service:
        await service.was_called.wait()
        states = [service.status.state]
        (loop,) = service._loops
        loop._clock, started = lambda: now, loop._started
        assert started is not None
        now = started + 1
        states.append(service.status.state)

    assert states == [ServiceState.FAILING, ServiceState.RUNNING]


async def test_pause_before_a_restart_grows_until_the_service_recovers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Growing(FixedRetryPolicy):
        def get_backoff(self, attempt: int) -> float:
            return 0.001 * attempt

    class Backing(Service):
        restart_policy: ClassVar[RetryPolicy] = Growing()

    async def run_for_long(service: Service) -> None:
        (loop,) = service._loops
        ahead, loop._clock = 3600, asyncio.get_running_loop().time
        loop._clock = lambda: asyncio.get_running_loop().time() + ahead
        raise LookupError("after an hour")

    caplog.set_level(logging.ERROR)
    service = Backing(fail, fail, run_for_long, run_until_stopped)

    async with service:
        await service.was_called.wait()

    pauses = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    assert pauses == [0.001, 0.002, 0.001]


async def test_service_status_reports_a_loop_that_ended_by_itself() -> None:
    service = Service(end)

    async with service:
        await service.was_called.wait()
        await asyncio.sleep(0.01)
        status = service.status

    assert status == ServiceStatus(ServiceState.ENDED)


async def test_stop_during_the_pause_before_a_restart_ends_the_service() -> None:
    class Patient(Service):
        restart_policy: ClassVar[RetryPolicy] = FixedRetryPolicy(delay=3600.0)

    service = Patient(fail, end)

    async with service:
        await asyncio.sleep(0.01)

    assert service.status.state is ServiceState.STOPPED


async def test_stop_cancels_a_loop_after_the_grace_period(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(ignore_the_stop)
    await service.start()
    await service.was_called.wait()

    await asyncio.wait_for(service.stop(grace=0.01), timeout=60)

    assert "Service is cancelled: not stopped in 0.01 s" in caplog.text


async def test_stop_at_the_end_of_a_block_has_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    class Impatient(Service):
        stop_grace: ClassVar[float] = 0.01

    async with Impatient(ignore_the_stop) as service:
        await service.was_called.wait()

    assert Service.stop_grace == 10
    assert "Impatient is cancelled: not stopped in 0.01 s" in caplog.text


async def test_stop_abandons_a_loop_that_ignores_its_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(ignore_the_cancellation)
    await service.start()
    await service.was_called.wait()
    (loop,) = service._loops

    await asyncio.wait_for(service.stop(grace=0.0), timeout=60)

    assert "Service is abandoned: it ignores its cancellation" in caplog.text
    loop.task.cancel()
    await asyncio.wait({loop.task})


async def test_isolated_call_ends_with_its_cancelled_caller() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    caller = asyncio.ensure_future(isolate(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()

    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


class CancellingBus(InMemoryMessageBus):
    """Bus whose client raises `CancelledError` for the first message."""

    was_cancelled = False

    async def publish(self, message: OutboxMessage) -> None:
        if not self.was_cancelled:
            self.was_cancelled = True
            raise asyncio.CancelledError
        await super().publish(message)


async def test_relay_counts_a_publisher_that_raises_cancelled_error_as_a_failed_try() -> None:
    clock = FakeClock()
    outbox, bus = InMemoryOutboxStorage(clock), CancellingBus()
    await outbox.save_messages([OutboxMessage("m-1", "Tested", {})])

    async with OutboxRelay(outbox, bus, clock=clock, poll_interval=1) as relay:
        for _ in range(10):
            await clock.advance(10)
        status = relay.status

    assert [message.message_id for message in bus.published] == ["m-1"]
    assert (status.state, status.restarts) == (ServiceState.RUNNING, 0)


async def test_relay_polls_on_when_its_signal_raises_cancelled_error() -> None:
    class CancellingSignal(InMemoryQueueSignal):
        waits = 0

        async def wait(self, channel: str, timeout: float) -> bool:
            self.waits += 1
            raise asyncio.CancelledError

    clock, signal = FakeClock(), CancellingSignal()
    outbox, bus = InMemoryOutboxStorage(clock), InMemoryMessageBus()

    async with OutboxRelay(outbox, bus, clock=clock, signal=signal, poll_interval=5) as relay:
        await clock.advance(1)
        await outbox.save_messages([OutboxMessage("m-1", "Tested", {})])
        await clock.advance(5)
        status = relay.status

    assert len(bus.published) == 1
    assert status.state is ServiceState.RUNNING
    assert signal.waits <= 3
