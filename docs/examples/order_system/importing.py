"""Import of a file, and waiting until the read models contain all of its events."""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

from cqrs_ddd_advanced_core.exceptions import ProjectionError
from cqrs_ddd_core.primitives.exceptions import (
    DomainError,
    DuplicateCommandError,
    LeaseLostError,
    OutboxError,
    ValidationError,
)

from .application import ShipOrder
from .composition import System
from .order_file import OrderFile, ReadLine, Rejection
from .projections import OrderSummaries

Progress = Callable[[int], object]
"""Callback that gets the number of items completed since the last call."""


@dataclass
class Summary:
    """Counts of the lines by result.

    ``resumed`` counts the added lines that another run had stored, ``unshipped`` the orders that
    could not be shipped.
    """

    added: int = 0
    resumed: int = 0
    duplicates: int = 0
    rejected: int = 0
    unshipped: int = 0

    @property
    def lines(self) -> int:
        """Number of lines read."""
        return self.added + self.duplicates + self.rejected


_HEAD = "line,reason,cells"


class RejectedLines:
    """File with a line for each rejection, replaced as a whole at the end.

    Raises ``ValidationError`` if the path is a file with other content.
    """

    def __init__(self, path: Path, spool: TextIO) -> None:
        if path.exists() and not _is_rejection_file(path):
            raise ValidationError(f"{path} is not a file of rejected lines; name another file")
        self.path = path
        self._spool = spool
        self._rows = csv.writer(spool)
        self._rows.writerow(_HEAD.split(","))
        self._is_empty = True

    def add(self, rejection: Rejection) -> None:
        """Add a row for a rejected line."""
        self._is_empty = False
        self._rows.writerow([rejection.number, rejection.reason, *rejection.cells])

    def save(self) -> None:
        """Write the file; without rejections, replace only a file of an earlier run."""
        if self._is_empty and not self.path.exists():
            return
        self._spool.seek(0)
        try:
            part = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                shutil.copyfileobj(self._spool, file)
            part.replace(self.path)
        except OSError as error:
            raise ValidationError(
                f"the orders are imported, but the rejected lines cannot be written to "
                f"{self.path}: {error.strerror}; run it again with another --rejected"
            ) from error


def _is_rejection_file(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline().strip() == _HEAD.encode()


@contextmanager
def open_rejected_lines(path: Path) -> Iterator[RejectedLines]:
    """Collect rejected lines in a temporary file until they are saved."""
    with TemporaryFile("w+", encoding="utf-8", errors="backslashreplace", newline="") as spool:
        yield RejectedLines(path, spool)


class Import:
    """Import of one file, which can be repeated after a crash without a second effect."""

    def __init__(self, system: System, rejected: RejectedLines) -> None:
        self._app = system.app
        self._rejected = rejected
        self._last: ReadLine | None = None
        """Last imported line of the current order that has a shipping date."""
        self.summary = Summary()

    async def run(self, file: OrderFile, progress: Progress) -> None:
        """Send a command for each line, and ship each order after its last line."""
        for line in file.read_lines():
            if isinstance(line, ReadLine):
                await self._send(line)
            else:
                self._reject(line)
            progress(1)
        await self._ship()

    async def _send(self, line: ReadLine) -> None:
        if self._last is not None:
            if self._last.command.order_id != line.command.order_id:
                await self._ship()
            elif line.shipped_at not in (None, self._last.shipped_at):
                self._reject(
                    line.reject("an earlier line of the order was shipped at another time")
                )
                return
        try:
            response = await self._app.send(line.command)
        except DomainError as error:
            self._reject(line.reject(error))
            return
        except DuplicateCommandError:
            self._reject(line.reject("it was imported before with another mapping"))
            return
        if response.result == "duplicate":
            self.summary.duplicates += 1
        else:
            self.summary.added += 1
            self.summary.resumed += not response.events
        if line.shipped_at is not None:
            self._last = line

    async def _ship(self) -> None:
        """Ship the current order, after its last line because a shipped order accepts no more."""
        line, self._last = self._last, None
        at = None if line is None else line.shipped_at
        if line is None or at is None:
            return
        order_id = line.command.order_id
        command = ShipOrder(
            command_id=f"ship-{order_id}-{at.isoformat()}", order_id=order_id, shipped_at=at
        )
        try:
            await self._app.send(command)
        except DomainError as error:
            self.summary.unshipped += 1
            self._rejected.add(line.reject(error))

    def _reject(self, rejection: Rejection) -> None:
        self.summary.rejected += 1
        self._rejected.add(rejection)


async def drain_outbox(system: System, progress: Progress) -> None:
    """Run the relay until the outbox is empty, including messages of earlier runs.

    Raises ``OutboxError`` for a dead letter.
    """
    outbox = system.app.backend.outbox
    for message in await outbox.list_dead_letters():
        await outbox.retry(message.message_id)
    while True:
        if published := await system.relay.run_once():
            progress(published)
        elif failed := await outbox.list_dead_letters(limit=1):
            raise OutboxError(
                f"{failed[0].event_type} {failed[0].message_id} is a dead letter: "
                f"{failed[0].error}; correct the cause and run it again"
            )
        elif await outbox.get_pending(limit=1):
            # Another run publishes the rest, or a killed run holds it until its lease ends.
            await asyncio.sleep(0.1)
        else:
            return


async def catch_up(system: System, progress: Progress) -> None:
    """Run the worker until the order list contains all events, including events of earlier runs.

    Raises ``ProjectionError`` for a dead letter.
    """
    name, projections = OrderSummaries.collection, system.projections
    worker = projections.create_worker()
    for letter in await projections.dead_letters.list_dead_letters(name):
        await projections.dead_letters.retry(name, letter.position)
    end = await system.app.backend.event_store.latest_position()
    while True:
        try:
            progress(await worker.drain())
        except LeaseLostError:
            continue  # A rebuild took the lease and has replaced the documents.
        if failed := await projections.dead_letters.list_dead_letters(name, limit=1):
            raise ProjectionError(
                f"{failed[0].event_type} at position {failed[0].position} is a dead letter of "
                f"{name}: {failed[0].error}; correct the cause and run it again",
                projection=name,
            )
        # Another run handles the rest, or a killed run holds it until its lease ends.
        if await projections.positions.wait_until(end, [name], timeout=0.5):
            return
