"""Lines in the log about outages: one for each class of error and interval."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from cqrs_ddd_core import (
    BackgroundService,
    Command,
    CommandTimeoutError,
    CommitOutcomeUnknownError,
    ConcurrencyError,
    LoggingMiddleware,
    OutageLog,
    OutboxError,
    PersistenceError,
    SerializationError,
    is_outage,
)
from cqrs_ddd_core.adapters.memory import FakeClock
from cqrs_ddd_core.primitives.background_service import Loops

LOGGER = logging.getLogger("test_outage_log")


class Rename(Command[None]):
    pass


def _get_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert not [record for record in caplog.records if record.exc_info]
    return [record.getMessage() for record in caplog.records]


async def test_outage_is_logged_once_per_class_and_interval_with_the_number_of_lines_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    outages = OutageLog(LOGGER, interval=10, clock=clock)
    for _ in range(2):
        for number in range(1000):
            outages.log(PersistenceError("down"), "request %d failed", number)
        outages.log(OutboxError("down"), "relay failed")
        await clock.advance(10)

    assert _get_lines(caplog) == [
        "request 0 failed",
        "relay failed",
        "request 0 failed; 999 more lines about PersistenceError since the last one",
        "relay failed",
    ]


@pytest.mark.parametrize(
    "error",
    [
        ConcurrencyError("conflict"),
        CommitOutcomeUnknownError("no reply"),
        SerializationError("not JSON"),
        LookupError("a bug"),
    ],
)
def test_other_errors_are_logged_each_time(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    outages = OutageLog(LOGGER, clock=FakeClock())
    for _ in range(3):
        outages.log(error, "it failed")

    assert not is_outage(error)
    assert _get_lines(caplog) == ["it failed"] * 3


@pytest.mark.parametrize(
    "error",
    [PersistenceError(), CommandTimeoutError(), ConnectionResetError(), asyncio.TimeoutError()],
)
def test_failing_servers_and_exceeded_times_are_outages(error: Exception) -> None:
    assert is_outage(error)


async def test_logging_middleware_logs_an_outage_once_per_interval(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    middleware = LoggingMiddleware(clock)

    async def fail(message: Any) -> None:
        raise PersistenceError("down")

    for pause in (0, 0, 60, 0):
        await clock.advance(pause)
        with pytest.raises(PersistenceError):
            await middleware(Rename(), fail)

    first, second = _get_lines(caplog)
    assert first == "Rename failed after 0.0 ms: PersistenceError: down"
    assert second == f"{first}; 1 more lines about PersistenceError since the last one"


async def test_loop_of_a_service_logs_an_outage_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = asyncio.Event()

    class Service(BackgroundService):
        def create_loops(self) -> Loops:
            return (self._run,)

        async def _run(self) -> None:
            failed.set()
            raise PersistenceError("down")

    async with Service():
        await failed.wait()
        await asyncio.sleep(0.01)

    lines = _get_lines(caplog)
    assert lines
    for line in lines:
        assert line.startswith("a loop of Service ")
        assert line.endswith(": PersistenceError: down")
