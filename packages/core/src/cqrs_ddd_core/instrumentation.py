"""Hooks around the operations of the toolkit: for logs, metrics and traces.

A hook takes an ``Operation`` and returns a context manager, as tracers provide them::

    hooks.register(lambda op: tracer.start_as_current_span(op.name, attributes=op.attributes))

Without a registered hook, a span costs one truth test.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .primitives.exceptions import ConcealedError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Operation:
    """One run of an operation.

    Attributes:
        name: dotted name, such as ``command.send``.
        attributes: facts about the run; more may be added while it runs.
    """

    name: str
    attributes: dict[str, object] = field(default_factory=dict)


Hook = Callable[[Operation], AbstractContextManager[object]]
Filter = Callable[[Operation], bool]


@dataclass(frozen=True)
class _Entry:
    """Registered hook with its conditions."""

    hook: Hook
    operations: str
    priority: int
    when: Filter | None

    def wants(self, operation: Operation) -> bool:
        return fnmatchcase(operation.name, self.operations) and (
            self.when is None or self.when(operation)
        )


class InstrumentationHooks:
    """Registry of the hooks of a process; the toolkit calls the instance ``hooks``."""

    def __init__(self) -> None:
        self._entries: tuple[_Entry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._entries)

    def register(
        self,
        hook: Hook,
        *,
        operations: str = "*",
        priority: int = 0,
        when: Filter | None = None,
    ) -> Callable[[], None]:
        """Call ``hook`` around operations with a matching name; return a function that removes it.

        Args:
            hook: returns a context manager for an operation.
            operations: pattern of the name, as a shell matches file names.
            priority: the hook with the highest priority is entered first and left last.
            when: further condition on the operation.
        """
        entry = _Entry(hook, operations, priority, when)
        self._entries = tuple(sorted((*self._entries, entry), key=lambda e: -e.priority))

        def remove() -> None:
            self._entries = tuple(present for present in self._entries if present is not entry)

        return remove

    def span(self, name: str, **attributes: object) -> AbstractContextManager[object]:
        """Return a context manager of the hooks; the error of a hook is logged, not raised."""
        if not self._entries:
            return _NO_SPAN
        return _Span(self._entries, Operation(name, attributes))


class _Span(AbstractContextManager[Operation]):
    def __init__(self, entries: tuple[_Entry, ...], operation: Operation) -> None:
        self._entries = entries
        self._operation = operation
        self._stack = ExitStack()

    def __enter__(self) -> Operation:
        for entry in self._entries:
            try:
                if entry.wants(self._operation):
                    self._stack.enter_context(_Isolated(self._operation, entry.hook))
            except Exception as error:
                _log_failure("before", self._operation, error)
        return self._operation

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


class _Isolated(AbstractContextManager[None]):
    """Context manager of a hook that can neither fail the operation nor hide its error."""

    def __init__(self, operation: Operation, hook: Hook) -> None:
        self._operation = operation
        self._inner = hook(operation)

    def __enter__(self) -> None:
        self._inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        try:
            self._inner.__exit__(*error)
        except Exception as failure:
            if failure is not error[1]:
                _log_failure("after", self._operation, failure)


def _log_failure(when: str, operation: Operation, error: Exception) -> None:
    logger.error(
        "instrumentation hook failed %s %s", when, operation.name, exc_info=ConcealedError(error)
    )


_NO_SPAN = nullcontext()

hooks = InstrumentationHooks()
"""Hooks that the toolkit calls."""
