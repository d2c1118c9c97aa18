"""Units of work that are opened in generators, and commands that join them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    Command,
    InMemoryBackend,
    InvalidOperationError,
    UnitOfWork,
    get_current_uow,
)


class Note(AggregateRoot[str]):
    pass


class AddNote(Command[str]):
    note_id: str


class Notes:
    def __init__(self) -> None:
        self.backend = InMemoryBackend()
        self.app = Application(self.backend)
        self.rows = self.backend.repository(Note)
        self.app.command_handler(AddNote)(self.add)

    async def add(self, command: AddNote) -> str:
        await self.rows.add(Note(id=command.note_id))
        return command.note_id

    async def read(self) -> AsyncIterator[int]:
        async with self.backend.unit_of_work():
            for number in range(3):
                yield number

    async def open(self) -> AsyncIterator[UnitOfWork]:
        async with self.backend.unit_of_work() as uow:
            yield uow

    async def find(self, note_id: str) -> Note | None:
        """Read the note in a context without a unit of work."""
        async with self.backend.unit_of_work() as uow:
            return await self.rows.get(note_id, uow)


@pytest.fixture
def notes() -> Notes:
    return Notes()


async def test_commands_in_the_body_of_a_complete_loop_join_and_commit(notes: Notes) -> None:
    async for number in notes.read():
        await notes.app.send(AddNote(note_id=f"n-{number}"))

    assert [await notes.find(f"n-{number}") is not None for number in range(3)] == [True] * 3


async def test_command_after_a_generator_that_was_left_early_is_stored_or_fails(
    notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    async for _ in notes.read():
        break

    # Python ends the generator in a task of its own, while this command runs.
    with pytest.raises(InvalidOperationError, match="the unit of work is rolled back"):
        await notes.app.send(AddNote(note_id="n-1"))
    gc.collect()
    await asyncio.sleep(0)
    assert get_current_uow() is None
    await notes.app.send(AddNote(note_id="n-2"))

    assert (await notes.find("n-1"), await notes.find("n-2")) == (None, Note(id="n-2"))
    assert "iterate over the generator with contextlib.aclosing" in caplog.text
    assert "rollback failed" not in caplog.text


async def test_generator_that_is_closed_before_the_next_command_swallows_nothing(
    notes: Notes,
) -> None:
    async with aclosing(notes.read()) as numbers:  # type: ignore[type-var]
        async for _ in numbers:
            break
    await notes.app.send(AddNote(note_id="n-1"))

    assert await notes.find("n-1") is not None


@pytest.mark.parametrize("adds_first", [True, False])
async def test_block_that_ends_before_its_command_fails_and_stores_nothing(
    notes: Notes, adds_first: bool
) -> None:
    blocked, go_on = asyncio.Event(), asyncio.Event()
    app = Application(notes.backend, middlewares=[])

    @app.command_handler(AddNote)
    async def add_slowly(command: AddNote) -> str:
        if adds_first:
            await notes.add(command)
        blocked.set()
        await go_on.wait()
        return command.note_id if adds_first else await notes.add(command)

    async def leave_block() -> None:
        async with notes.backend.unit_of_work() as uow:
            units.append(uow)
            sending.append(asyncio.ensure_future(app.send(AddNote(note_id="n-1"))))
            await blocked.wait()

    units, sending = list[UnitOfWork](), list[asyncio.Future[Any]]()
    with pytest.raises(InvalidOperationError, match="cannot commit: the mediator ends this"):
        await leave_block()
    go_on.set()
    with pytest.raises(InvalidOperationError, match=r"(AddNote|unit of work) is rolled back"):
        await sending[0]

    assert not units[0].is_open
    assert await notes.find("n-1") is None


async def test_commands_join_the_unit_of_work_of_a_generator_dependency(notes: Notes) -> None:
    async with asynccontextmanager(notes.open)() as uow:
        await notes.app.send(AddNote(note_id="n-1"))
        assert get_current_uow() is uow

    assert await notes.find("n-1") is not None
