"""Queue of the threads of one process that write to one SQLite file, in the order of arrival.

SQLite has one writer at a time. The other writers sleep and try again, up to 100 ms later, so the
last to arrive may write first. With the queue a writer waits in the thread of its connection, as it
would in SQLite, and is woken in its turn. Between processes only SQLite's lock decides.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

_BEGINS_WRITING = re.compile(
    r"\s*(?:INSERT|UPDATE|DELETE|REPLACE|BEGIN\s+(?:IMMEDIATE|EXCLUSIVE))\b", re.IGNORECASE
)
"""Statements that take the write lock outside a transaction; others are sent after a BEGIN."""

_queues: WeakValueDictionary[str, WriteQueue] = WeakValueDictionary()
_lookup = threading.Lock()


def _forget_queues() -> None:
    """Start a forked process without queues: no thread there ends the turns of the parent."""
    global _lookup
    _lookup = threading.Lock()
    _queues.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_queues)


class WriteQueue:
    """First-in, first-out lock between threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_held = False
        self._waiters: deque[threading.Lock] = deque()

    @classmethod
    def find(cls, file: str) -> WriteQueue:
        """Return the queue of a file, which all connections of the process share."""
        with _lookup:
            queue = _queues.get(file)
            if queue is None:
                queue = _queues[file] = cls()
            return queue

    def acquire(self, timeout: float) -> bool:
        """Wait for the turn of the caller, and return False after ``timeout`` seconds."""
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiters.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._guard:
            if turn not in self._waiters:
                return True  # The turn came at the same moment.
            self._waiters.remove(turn)
            return False

    def release(self) -> None:
        """Wake the next waiter."""
        with self._guard:
            if self._waiters:
                self._waiters.popleft().release()
            else:
                self._is_held = False


class QueueingConnection(sqlite3.Connection):
    """Connection that waits for its turn before it begins a transaction that writes.

    Args:
        database: file name, as for ``sqlite3.connect``.
        busy_timeout: seconds to wait for the turn.
        options: other arguments of ``sqlite3.connect``.
    """

    def __init__(self, database: str, *, busy_timeout: float, **options: Any) -> None:
        self._has_turn = False
        self._busy_timeout = busy_timeout
        self._queue = WriteQueue.find(os.path.realpath(database))
        super().__init__(database, **options)

    def take_turn(self) -> None:
        """Wait until the earlier writers have finished.

        Raises:
            sqlite3.OperationalError: this took longer than the ``busy_timeout``.
        """
        if not self._has_turn:
            if not self._queue.acquire(self._busy_timeout):
                raise sqlite3.OperationalError("database is locked")
            self._has_turn = True

    def end_turn(self) -> None:
        """Let the next writer begin."""
        if self._has_turn:
            self._has_turn = False
            self._queue.release()

    def end_finished_turn(self) -> None:
        """Let the next writer begin, unless the transaction is still open."""
        if self._has_turn and not self.in_transaction:
            self.end_turn()

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor whose statements begin and end turns."""
        return super().cursor(factory or _QueueingCursor)

    def execute(self, statement: str, parameters: Any = (), /) -> Any:
        """Execute a statement by such a cursor, which the base class would not use."""
        return self.cursor().execute(statement, parameters)

    def executemany(self, statement: str, rows: Any, /) -> Any:
        """Execute a statement for all rows by such a cursor."""
        return self.cursor().executemany(statement, rows)

    def commit(self) -> None:
        """Commit, and end the turn unless the transaction is still open."""
        try:
            super().commit()
        finally:
            self.end_finished_turn()

    def rollback(self) -> None:
        """Roll back, and end the turn."""
        try:
            super().rollback()
        finally:
            self.end_finished_turn()

    def __exit__(self, *failure: Any) -> Any:
        try:
            return super().__exit__(*failure)
        finally:
            self.end_finished_turn()

    def close(self) -> None:
        """Close the connection, and end the turn."""
        try:
            super().close()
        finally:
            self.end_turn()

    def __del__(self) -> None:
        self.end_turn()  # The event loop ended within a transaction.


class _QueueingCursor(sqlite3.Cursor):
    """Cursor of a ``QueueingConnection``."""

    connection: QueueingConnection

    def execute(self, statement: str, parameters: Any = (), /) -> _QueueingCursor:
        return self._execute(super().execute, statement, parameters)

    def executemany(self, statement: str, rows: Any, /) -> _QueueingCursor:
        return self._execute(super().executemany, statement, rows)

    def executescript(self, script: str, /) -> _QueueingCursor:
        try:
            super().executescript(script)
        finally:
            self.connection.end_finished_turn()
        return self

    def _execute(
        self, method: Callable[[str, Any], object], statement: str, parameters: Any
    ) -> _QueueingCursor:
        connection = self.connection
        if not connection.in_transaction and _BEGINS_WRITING.match(statement):
            connection.take_turn()
        try:
            method(statement, parameters)
        finally:
            connection.end_finished_turn()
        return self
