"""Time limit of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    Command,
    CommandResponse,
    CommandTimeoutError,
    ConfigError,
    ErrorClass,
    InMemoryBackend,
    Placement,
    TimeoutMiddleware,
    classify_error,
    standard_middlewares,
)
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork

Work = Callable[[], Awaitable[None]]


class Note(AggregateRoot[str]):
    pass


class Write(Command[None]):
    pass


backend = InMemoryBackend()
notes = backend.repository(Note)


async def _write(work: Work, note_id: str, seconds: float = 0.01) -> CommandResponse[None]:
    """Add a note, then run the work, with a time limit."""
    app = Application(backend, middlewares=standard_middlewares(TimeoutMiddleware(seconds)))

    @app.command_handler
    async def write(command: Write) -> None:
        await notes.add(Note(id=note_id))
        await work()

    return await app.send(Write())


async def _hang() -> None:
    await asyncio.Event().wait()


async def test_command_that_takes_too_long_is_rolled_back() -> None:
    with pytest.raises(CommandTimeoutError) as caught:
        await _write(_hang, "n-1")

    assert (caught.value.message_type, caught.value.seconds) == ("Write", 0.01)
    assert str(caught.value).startswith("Write did not end within 0.01 s and is not stored; ")
    assert classify_error(caught.value) is ErrorClass.TRANSIENT
    assert await notes.get("n-1") is None


async def test_command_within_its_time_limit_is_stored() -> None:
    await _write(lambda: asyncio.sleep(0), "n-2", seconds=30)

    assert await notes.get("n-2") is not None


async def test_error_that_follows_from_the_end_of_the_time_is_the_cause() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await _hang()
        except asyncio.CancelledError:
            raise ConnectionError from None

    with pytest.raises(CommandTimeoutError) as caught:
        await _write(fail_when_cancelled, "n-3")

    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_timeout_of_the_handler_itself_is_raised_unchanged() -> None:
    async def time_out() -> None:
        await asyncio.wait_for(_hang(), 0.001)

    with pytest.raises(asyncio.TimeoutError):
        await _write(time_out, "n-4", seconds=30)


async def test_cancelled_caller_of_a_command_with_a_time_limit_is_cancelled() -> None:
    task = asyncio.ensure_future(_write(_hang, "n-5", seconds=30))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()


@pytest.fixture
def _slow_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = InMemoryUnitOfWork.commit

    async def slow_commit(self: InMemoryUnitOfWork) -> None:
        await asyncio.sleep(0.03)
        await commit(self)

    monkeypatch.setattr(InMemoryUnitOfWork, "commit", slow_commit)


@pytest.mark.usefixtures("_slow_commit")
async def test_end_of_the_time_never_interrupts_a_commit() -> None:
    await _write(lambda: asyncio.sleep(0), "n-6")

    assert await notes.get("n-6") is not None


@pytest.mark.usefixtures("_slow_commit")
async def test_limit_outside_the_unit_of_work_would_interrupt_a_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TimeoutMiddleware, "placement", Placement.OUTSIDE)

    with pytest.raises(CommandTimeoutError):
        await _write(lambda: asyncio.sleep(0), "n-7")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_time_limit_that_is_not_positive_is_rejected(seconds: float) -> None:
    with pytest.raises(ConfigError, match="^seconds=.* leaves no time"):
        TimeoutMiddleware(seconds)
