"""Base class of the units of work: one transaction, and the hooks that run after its commit."""

import asyncio
import functools
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

from ..instrumentation import hooks
from ..primitives import exceptions as errors
from ..primitives.shielding import CompletionResult, run_to_completion
from .tracked_aggregates import TrackedAggregates

logger = logging.getLogger(__name__)

U = TypeVar("U", bound="UnitOfWork")
Step = Callable[[Any], Coroutine[Any, Any, None]]


class UnitOfWorkState(Enum):
    """Progress of a unit of work."""

    ACTIVE = "active"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "of unknown outcome"


class UnitOfWork(ABC):
    """One transaction: leaving ``async with`` commits it, an error or a cancellation rolls it back.

    A second ``commit`` does nothing. Hooks run once, after a commit that succeeded. A unit of work
    serves one task at a time, and ends with its commit or rollback.
    """

    commits_in_task: ClassVar[bool] = True
    """True to run commit and rollback in a task of their own; required if they wait for anything,
    so that a cancellation of the caller cannot leave them half done."""
    hook_timeout: ClassVar[float] = 5.0
    """Seconds that hooks may continue after their caller was cancelled."""

    read_only: bool = False
    """True to reject every change; leaving ``async with`` then rolls back."""
    is_managed: bool = False
    """True while a mediator runs a message in it, and alone commits or rolls back."""
    committed_position: int | None = None
    """Last global position that the event store assigned in this transaction."""

    def __init__(self) -> None:
        self._on_commit_hooks: deque[Callable[[], Awaitable[Any]]] = deque()
        self._state = UnitOfWorkState.ACTIVE
        self._running: str | None = None
        self._failure: Exception | None = None
        self._outer: _Current | None = None
        self._has_left_block = False
        self.aggregates = TrackedAggregates()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A subclass or a mixin defines the bare steps, which need the same guards. Only the
        # outermost guard takes effect: see ADR 3.
        if cls.commit not in _guards:
            cls.commit = _guard_commit(cls.commit)  # type: ignore[assignment]
        if cls.rollback not in _guards:
            cls.rollback = _guard_rollback(cls.rollback)  # type: ignore[assignment]

    @abstractmethod
    async def commit(self) -> None:
        """Make the work durable, then run the hooks.

        Raises:
            UnsavedChangesError: an aggregate recorded events that no repository has saved.
            CommitOutcomeUnknownError: the database did not reply to COMMIT.
        """
        ...

    @abstractmethod
    async def rollback(self) -> None:
        """Undo the work and drop the hooks."""
        ...

    async def end_reading(self) -> None:
        """Roll back at the end of a read-only block; an adapter first rejects pending changes."""
        await self.rollback()

    @property
    def state(self) -> UnitOfWorkState:
        """Progress of the unit of work."""
        return self._state

    @property
    def is_open(self) -> bool:
        """Return whether the unit of work has neither ended nor begun to commit."""
        return self._state is UnitOfWorkState.ACTIVE

    def find_joined(self) -> "UnitOfWork | None":
        """Return this unit of work while it is open or a command runs in it, or else None.

        A command never continues in another transaction than its own.
        """
        return self if self._state is UnitOfWorkState.ACTIVE or self.is_managed else None

    def on_commit(self, callback: Callable[[], Awaitable[Any]]) -> None:
        """Run ``callback`` after the commit, without a guarantee; a guarantee needs the outbox.

        Raises:
            InvalidOperationError: the unit of work has ended, or ``callback`` cannot be called.
        """
        _ensure_hook(callback)
        self.ensure_open("register a hook")
        self.ensure_writable("register a commit hook")
        self._on_commit_hooks.append(callback)

    async def trigger_commit_hooks(self) -> None:
        """Run the hooks in order; the error of a hook is logged, and the other hooks still run."""
        if self._state is UnitOfWorkState.COMMITTING:
            return  # Not yet: the commit may still fail.
        while self._on_commit_hooks:
            callback = self._on_commit_hooks.popleft()
            # Each hook has a task of its own, so a hook that cancels its task stops no other hook.
            ended = await run_to_completion(_call(callback), grace=0.0)
            if ended.interruption is not None:
                raise ended.interruption
            if ended.error is not None:
                logger.error(
                    "on_commit hook %r failed; the commit stands",
                    callback,
                    exc_info=errors.ConcealedError(ended.error),
                )

    async def __aenter__(self: U) -> U:
        self.ensure_open("enter it")
        self._outer = current_uow.get()
        current_uow.set(self)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None and self.is_open:
                await (self.end_reading() if self.read_only else self.commit())
        except BaseException as failure:
            error = failure
            raise
        finally:
            if error is not None and self.is_open:
                if isinstance(error, GeneratorExit) and not self.read_only:
                    logger.warning(_LEFT_EARLY)
                self._has_left_block = True
                await self._rollback_after(error)
            current_uow.set(self._outer)

    def ensure_open(self, purpose: str) -> None:
        """Raise ``InvalidOperationError`` if the transaction has ended or can only roll back."""
        if self._state is not UnitOfWorkState.ACTIVE:
            raise errors.InvalidOperationError(
                f"cannot {purpose}: the unit of work is {self._state.value}; start a new one"
            )
        if self._failure is not None:
            raise errors.InvalidOperationError(
                f"cannot {purpose}: the unit of work can only be rolled back after "
                f"{errors.describe_error(self._failure)}; start a new one"
            ) from self._failure

    def ensure_writable(self, operation: str) -> None:
        """Raise ``ReadOnlyError`` if the unit of work is read-only."""
        if self.read_only:
            raise errors.ReadOnlyError.rejected(operation)

    @contextmanager
    def guard_exclusive(self, operation: str) -> Iterator[None]:
        """Surround one use by an adapter, during which no other use is allowed.

        After a conflict, an error of the infrastructure or a write in a read-only unit of work the
        transaction can only be rolled back, as on PostgreSQL.

        Raises:
            ConcurrentUseError: another task uses the unit of work.
            InvalidOperationError: the transaction has ended, or can only be rolled back.
        """
        self.ensure_open(operation)
        self._claim(operation)
        try:
            yield
            # If the transaction ended during the operation, the operation is rolled back, too.
            self.ensure_open(operation)
        except _RAISED_BEFORE_A_STATEMENT:
            raise
        except (
            errors.ConcurrencyError,
            errors.InfrastructureError,
            errors.ReadOnlyError,
        ) as error:
            self._failure = error
            raise
        finally:
            self._running = None

    def _claim(self, operation: str) -> None:
        if self._running is not None:
            raise errors.ConcurrentUseError(
                f"cannot {operation} while another task runs {self._running} in the same unit of "
                "work; give each task a unit of work of its own",
                running=self._running,
                rejected=operation,
            )
        self._running = operation

    def _ensure_not_managed(self, operation: str) -> None:
        # The end of the block rolls back although a command still runs, which then fails.
        if self.is_managed and not self._has_left_block:
            raise errors.InvalidOperationError(
                f"cannot {operation}: the mediator ends this unit of work after the handler; "
                "return to commit, or raise an error to roll back"
            )

    async def _run(self, step: Step) -> CompletionResult:
        if self.commits_in_task:
            return await run_to_completion(step(self))
        try:
            await step(self)
        except BaseException as error:
            return CompletionResult(
                error, error if isinstance(error, asyncio.CancelledError) else None
            )
        return _COMPLETED

    async def _give_up(self, ended: CompletionResult, error: BaseException) -> NoReturn:
        if isinstance(error, errors.CommitOutcomeUnknownError):
            self._state = UnitOfWorkState.UNKNOWN
        else:
            self._state = UnitOfWorkState.ACTIVE
            await self._rollback_after(error)
        if ended.interruption is not None and ended.interruption is not error:
            raise ended.interruption from error
        raise error

    async def _rollback_after(self, error: BaseException) -> None:
        try:
            await self.rollback()
        except Exception as failure:
            # The caller needs the error of the work, not the later error of the rollback.
            logger.error(
                "rollback failed after %s",
                errors.describe_error(error),
                exc_info=errors.ConcealedError(failure),
            )


class _Current(Protocol):
    """Unit of work that a task entered, or the place of one that is not created yet."""

    @property
    def is_open(self) -> bool: ...

    def find_joined(self) -> UnitOfWork | None: ...


current_uow: ContextVar[_Current | None] = ContextVar("unit_of_work", default=None)
"""Unit of work that the running task entered last; adapters call ``get_current_uow``."""
_guards: set[Step] = set()
_RAISED_BEFORE_A_STATEMENT = (errors.SerializationError, errors.AmbiguousStreamError)
"""Errors that are raised before a statement is sent to the database."""
_COMPLETED = CompletionResult(None)
_LEFT_EARLY = (
    "a unit of work is rolled back, with every command that has joined it, because the generator "
    "that opened it was left early; iterate over the generator with contextlib.aclosing"
)


def get_current_uow() -> UnitOfWork | None:
    """Return the unit of work that the running task entered last, or None if it is not open."""
    current = current_uow.get()
    return None if current is None else current.find_joined()


def _ensure_hook(callback: object) -> None:
    if not callable(callback):
        raise errors.InvalidOperationError(
            f"on_commit takes an async function without parameters, got a "
            f"{type(callback).__name__}; pass the function, such as partial(send, letter), instead "
            "of the result of a call"
        )


async def _call(callback: Callable[[], Awaitable[Any]]) -> None:
    # Set in the task of the hook, whose reads and commands take no part in the ended transaction.
    current_uow.set(None)
    await callback()


def _trace(step: Step) -> Step:
    async def commit(uow: UnitOfWork) -> None:
        with hooks.span("transaction.commit"):
            await step(uow)

    return commit


def _guard_commit(step: Step) -> Step:
    @functools.wraps(step)
    async def commit(self: UnitOfWork) -> None:
        if type(self).commit is not commit:
            await step(self)  # super().commit() of a subclass
            return
        if self._state is UnitOfWorkState.COMMITTED:
            return
        self._ensure_not_managed("commit")
        self.ensure_open("commit")
        self.aggregates.ensure_all_saved()
        self._claim("commit")
        self._state = UnitOfWorkState.COMMITTING
        ended = await self._run(_trace(step) if hooks else step)
        self._running = None
        if ended.error is not None:
            await self._give_up(ended, ended.error)
        self._state = UnitOfWorkState.COMMITTED
        self.aggregates.mark_committed()
        interruption = ended.interruption
        if self._on_commit_hooks:
            called = await run_to_completion(
                self.trigger_commit_hooks(), grace=self.hook_timeout, interruption=interruption
            )
            interruption = called.interruption
        if interruption is not None:
            raise interruption

    _guards.add(commit)
    return commit


def _guard_rollback(step: Step) -> Step:
    @functools.wraps(step)
    async def rollback(self: UnitOfWork) -> None:
        if type(self).rollback is not rollback:
            await step(self)
            return
        if self._state is UnitOfWorkState.ROLLED_BACK:
            return
        self._ensure_not_managed("roll back")
        self._failure = None
        self.ensure_open("roll back")
        self._state = UnitOfWorkState.ROLLED_BACK
        self._on_commit_hooks.clear()
        ended = await self._run(step)
        if ended.interruption is not None:
            raise ended.interruption from ended.error
        if ended.error is not None:
            raise ended.error

    _guards.add(rollback)
    return rollback
