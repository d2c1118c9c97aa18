"""From a file to the report: sends every line, and sees to it that what is read knows of all."""

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
"""Told how many more are done."""


@dataclass
class Summary:
    """What became of the lines; ``resumed`` of those added were there from another run.

    ``unshipped`` orders could not be shipped as the file says.
    """

    added: int = 0
    resumed: int = 0
    duplicates: int = 0
    rejected: int = 0
    unshipped: int = 0

    @property
    def lines(self) -> int:
        return self.added + self.duplicates + self.rejected


_HEAD = "line,reason,cells"


class RejectedLines:
    """A file with a line for each rejection, written at the end and in one go.

    Raises ``ValidationError`` for a file that holds something else.
    """

    def __init__(self, path: Path, spool: TextIO) -> None:
        if path.exists() and not _is_ours(path):
            raise ValidationError(f"{path} holds no rejected lines; name another file")
        self.path = path
        self._spool = spool
        self._rows = csv.writer(spool)
        self._rows.writerow(_HEAD.split(","))
        self._is_empty = True

    def add(self, rejection: Rejection) -> None:
        self._is_empty = False
        self._rows.writerow([rejection.number, rejection.reason, *rejection.cells])

    def save(self) -> None:
        """Where there is nothing to say, a file of an earlier run says so."""
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


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline().strip() == _HEAD.encode()


@contextmanager
def rejected_lines(path: Path) -> Iterator[RejectedLines]:
    with TemporaryFile("w+", encoding="utf-8", errors="backslashreplace", newline="") as spool:
        yield RejectedLines(path, spool)


class Import:
    """The lines of one file. Import it again after a crash: what was done stays as it is."""

    def __init__(self, system: System, rejected: RejectedLines) -> None:
        self._mediator = system.mediator
        self._rejected = rejected
        self._last: ReadLine | None = None
        """Of the order that is being read, the last line taken that says when it was shipped."""
        self.summary = Summary()

    async def run(self, file: OrderFile, progress: Progress) -> None:
        for line in file.lines():
            if isinstance(line, ReadLine):
                await self._take(line)
            else:
                self._reject(line)
            progress(1)
        await self._ship()

    async def _take(self, line: ReadLine) -> None:
        if self._last is not None:
            if self._last.command.order_id != line.command.order_id:
                await self._ship()
            elif line.shipped_at not in (None, self._last.shipped_at):
                self._reject(
                    line.rejected("an earlier line of the order was shipped at another time")
                )
                return
        try:
            response = await self._mediator.send(line.command)
        except DomainError as error:
            self._reject(line.rejected(error))
            return
        except DuplicateCommandError:
            self._reject(line.rejected("it was imported before, read through another mapping"))
            return
        if response.result == "duplicate":
            self.summary.duplicates += 1
        else:
            self.summary.added += 1
            self.summary.resumed += not response.events
        if line.shipped_at is not None:
            self._last = line

    async def _ship(self) -> None:
        """After its last line, since a shipped order takes no more."""
        line, self._last = self._last, None
        at = None if line is None else line.shipped_at
        if line is None or at is None:
            return
        order_id = line.command.order_id
        command = ShipOrder(
            command_id=f"ship-{order_id}-{at.isoformat()}", order_id=order_id, shipped_at=at
        )
        try:
            await self._mediator.send(command)
        except DomainError as error:
            self.summary.unshipped += 1
            self._rejected.add(line.rejected(error))

    def _reject(self, rejection: Rejection) -> None:
        self.summary.rejected += 1
        self._rejected.add(rejection)


async def tell(system: System, progress: Progress) -> None:
    """Hand every event to the tables that are read, also those that an earlier run left behind.

    Raises ``OutboxError`` when one is refused again and again.
    """
    for message in await system.outbox.list_dead_letters():
        await system.outbox.retry(message.message_id)
    while True:
        if told := await system.relay.run_once():
            progress(told)
        elif refused := await system.outbox.list_dead_letters(limit=1):
            raise OutboxError(
                f"{refused[0].event_type} {refused[0].message_id} is refused: {refused[0].error}; "
                "run it again when the cause is gone"
            )
        elif await system.outbox.get_pending(limit=1):
            # Another run has the rest, or one that was killed had it until its lease ends.
            await asyncio.sleep(0.1)
        else:
            return


async def catch_up(system: System, progress: Progress) -> None:
    """Make the documents of every event, also of those that an earlier run left behind.

    Raises ``ProjectionError`` when one cannot be taken.
    """
    name = OrderSummaries.collection
    for letter in await system.dead_letters.list_dead_letters(name):
        await system.dead_letters.retry(name, letter.position)
    end = await system.events.latest_position()
    while True:
        try:
            progress(await system.worker.drain())
        except LeaseLostError:
            continue  # To a rebuild, which is live now.
        if refused := await system.dead_letters.list_dead_letters(name, limit=1):
            raise ProjectionError(
                f"{refused[0].event_type} at position {refused[0].position} is refused by {name}: "
                f"{refused[0].error}; run it again when the cause is gone",
                projection=name,
            )
        # Another run has the rest, or one that was killed had it until its lease ends.
        if await system.positions.wait_until(end, [name], timeout=0.5):
            return
