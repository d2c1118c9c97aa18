"""Behaviour of the base class UnitOfWork, in addition to the contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest

from cqrs_ddd_core import UnitOfWork, get_current_uow
from cqrs_ddd_core.ports.unit_of_work import IUnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    CommitOutcomeUnknownError,
    ConcealedError,
    InvalidOperationError,
    PersistenceError,
)
from cqrs_ddd_core.unit_of_work import UnitOfWorkState


class Recording(UnitOfWork):
    """Unit of work of an application, with a commit and a rollback that take some time."""

    commit_error: Exception | None = None
    rollback_error: Exception | None = None

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.committing = asyncio.Event()

    async def commit(self) -> None:
        self.steps.append("commit begins")
        self.committing.set()
        await asyncio.sleep(0.01)
        if self.commit_error:
            raise self.commit_error
        self.steps.append("commit ends")

    async def rollback(self) -> None:
        self.steps.append("rollback begins")
        await asyncio.sleep(0.01)
        if self.rollback_error:
            raise self.rollback_error
        self.steps.append("rollback ends")

    def build_hook(self, word: str) -> Callable[[], Awaitable[None]]:
        async def hook() -> None:
            self.steps.append(word)

        return hook


COMMITTED = ["commit begins", "commit ends"]
ROLLED_BACK = ["rollback begins", "rollback ends"]


async def _cancel_during_commit(uow: Recording) -> asyncio.Task[None]:
    async def work() -> None:
        async with uow:
            uow.on_commit(uow.build_hook("hook"))

    task = asyncio.ensure_future(work())
    await uow.committing.wait()
    task.cancel()
    await asyncio.wait({task})
    return task


def test_iunitofwork_is_an_alias_of_unit_of_work() -> None:
    assert IUnitOfWork is UnitOfWork


async def test_commit_hooks_run_once_in_a_subclass_that_overrides_commit() -> None:
    uow = Recording()

    async with uow:
        uow.on_commit(uow.build_hook("first hook"))
        uow.on_commit(uow.build_hook("second hook"))
        await uow.commit()
        await uow.commit()

    assert uow.steps == [*COMMITTED, "first hook", "second hook"]


async def test_unit_of_work_subclass_can_extend_the_commit_of_its_parent() -> None:
    class Extended(Recording):
        async def commit(self) -> None:
            self.steps.append("flush")
            await super().commit()

    uow = Extended()
    async with uow:
        uow.on_commit(uow.build_hook("hook"))

    assert uow.steps == ["flush", *COMMITTED, "hook"]


async def test_plain_mixin_can_extend_the_commit_of_a_unit_of_work() -> None:
    class Flushing:
        async def commit(self) -> None:
            steps.append("flush")
            await super().commit()  # type: ignore[misc]

    class Mixed(Flushing, Recording):
        pass

    uow = Mixed()
    steps = uow.steps
    async with uow:
        uow.on_commit(uow.build_hook("hook"))
        await uow.commit()

    assert uow.steps == ["flush", *COMMITTED, "hook"]


async def test_failed_commit_is_rolled_back_and_runs_no_hook() -> None:
    uow = Recording()
    uow.commit_error = PersistenceError("disk full")

    with pytest.raises(PersistenceError, match="disk full"):
        async with uow:
            uow.on_commit(uow.build_hook("hook"))

    assert uow.steps == ["commit begins", *ROLLED_BACK]
    assert uow.state is UnitOfWorkState.ROLLED_BACK
    assert get_current_uow() is None


async def test_unknown_commit_outcome_is_neither_rolled_back_nor_hidden() -> None:
    uow = Recording()
    uow.commit_error = CommitOutcomeUnknownError("the connection died")

    with pytest.raises(CommitOutcomeUnknownError):
        async with uow:
            uow.on_commit(uow.build_hook("hook"))

    assert uow.steps == ["commit begins"]
    assert uow.state is UnitOfWorkState.UNKNOWN
    with pytest.raises(InvalidOperationError, match="is of unknown outcome; start a new one"):
        await uow.commit()


async def test_running_commit_completes_although_its_caller_is_cancelled() -> None:
    uow = Recording()

    task = await _cancel_during_commit(uow)

    assert task.cancelled()
    assert uow.steps == [*COMMITTED, "hook"]
    assert uow.state is UnitOfWorkState.COMMITTED


async def test_commit_in_the_task_of_the_caller_is_interrupted_by_a_cancellation() -> None:
    class Naive(Recording):
        commits_in_task: ClassVar[bool] = False

    uow = Naive()

    await _cancel_during_commit(uow)

    assert "commit ends" not in uow.steps


async def test_failed_commit_of_a_cancelled_caller_reports_both_errors() -> None:
    uow = Recording()
    uow.commit_error = PersistenceError("disk full")

    causes: list[BaseException | None] = []

    async def work() -> None:
        try:
            async with uow:
                pass
        except asyncio.CancelledError as error:
            causes.append(error.__cause__)
            raise

    task = asyncio.ensure_future(work())
    await uow.committing.wait()
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert causes == [uow.commit_error]
    assert uow.steps == ["commit begins", *ROLLED_BACK]


async def test_running_rollback_completes_although_its_caller_is_cancelled_again() -> None:
    uow = Recording()

    async def work() -> None:
        async with uow:
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert uow.steps == ROLLED_BACK


async def test_failed_rollback_does_not_hide_the_original_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uow = Recording()
    uow.rollback_error = PersistenceError("connection lost")

    with pytest.raises(LookupError, match="the reason"):
        async with uow:
            raise LookupError("the reason")

    assert "rollback failed after LookupError at test_unit_of_work.py" in caplog.text
    assert "connection lost" in caplog.text


async def test_result_of_an_async_function_is_not_accepted_as_a_commit_hook() -> None:
    async def send() -> None: ...

    sending: Any = send()

    async with Recording() as uow:
        with pytest.raises(InvalidOperationError, match="pass the function, such as partial"):
            uow.on_commit(sending)
    sending.close()


async def test_failing_commit_hook_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uow, error = Recording(), LookupError("in a hook")

    async def failing_hook() -> None:
        raise error

    async with uow:
        uow.on_commit(failing_hook)
        uow.on_commit(uow.build_hook("last"))

    assert uow.steps == [*COMMITTED, "last"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "failing_hook" in record.getMessage()
    assert "the commit stands" in record.getMessage()
    assert record.exc_info is not None
    shown = record.exc_info[1]
    assert isinstance(shown, ConcealedError)
    assert isinstance(shown.orig, LookupError)
    assert "in failing_hook" in str(shown)
    assert "in a hook" not in caplog.text


async def test_commit_hooks_of_a_cancelled_caller_end_after_the_hook_timeout() -> None:
    class Impatient(Recording):
        hook_timeout: ClassVar[float] = 0.02

    uow = Impatient()

    async def hang() -> None:
        uow.steps.append("hangs")
        try:
            await asyncio.Event().wait()
        finally:
            uow.steps.append("was stopped")

    async def work() -> None:
        async with uow:
            uow.on_commit(hang)

    task = asyncio.ensure_future(work())
    await uow.committing.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=10)

    assert task.cancelled()
    assert uow.steps == [*COMMITTED, "hangs", "was stopped"]


async def test_commit_hook_can_open_a_unit_of_work_but_not_use_the_finished_one() -> None:
    uow, further = Recording(), Recording()

    async def hook() -> None:
        assert get_current_uow() is None
        async with further:
            further.on_commit(further.build_hook("hook of the hook"))
        uow.on_commit(uow.build_hook("too late"))

    async with uow:
        uow.on_commit(hook)

    assert further.steps == [*COMMITTED, "hook of the hook"]
    assert uow.steps == COMMITTED


async def test_commit_hooks_triggered_again_after_the_commit_do_not_run_twice() -> None:
    uow = Recording()

    async with uow:
        uow.on_commit(uow.build_hook("hook"))
        await uow.commit()
        await uow.trigger_commit_hooks()

    assert uow.steps == [*COMMITTED, "hook"]


async def test_unit_of_work_subclass_needs_commit_and_rollback() -> None:
    class Half(UnitOfWork):
        async def commit(self) -> None: ...

    with pytest.raises(TypeError, match="rollback"):
        Half()  # type: ignore[abstract]
