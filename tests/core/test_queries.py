"""Queries in a read-only unit of work, and the end of a unit of work by its mediator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    CachingRepository,
    Command,
    ConfigError,
    HandlerRegistry,
    Mediator,
    Query,
    UnitOfWork,
    get_current_uow,
)
from cqrs_ddd_core.adapters.memory import (
    InMemoryCacheService,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrentUseError,
    InvalidOperationError,
    ReadOnlyError,
)
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_core.unit_of_work import UnitOfWorkState


class Note(AggregateRoot[str]):
    text: str = ""


class Write(Command[None]):
    note_id: str


class Read(Query[Any]):
    note_id: str = "n-1"


class ReadTwice(Query[Any]):
    pass


Work = Callable[[], Awaitable[Any]]


class Notes:
    """Application whose query does what a test wants."""

    def __init__(self) -> None:
        self.rows = InMemoryRepository[Note, str](Note)
        self.readers: list[InMemoryUnitOfWork] = []
        self.handlers = HandlerRegistry()
        self.handlers.register_command_handler(Write, self._write)
        self.mediator = Mediator(
            self.handlers, uow_factory=InMemoryUnitOfWork, query_uow_factory=self._new_reader
        )

    def on_read(self, work: Work) -> None:
        async def handle(query: Read) -> object:
            return await work()

        self.handlers.register_query_handler(Read, handle)

    async def _write(self, command: Write) -> None:
        await self.rows.add(Note(id=command.note_id))

    def _new_reader(self) -> InMemoryUnitOfWork:
        self.readers.append(InMemoryUnitOfWork(read_only=True))
        return self.readers[-1]


@pytest.fixture
def notes() -> Notes:
    return Notes()


async def test_reads_of_a_query_share_one_read_only_unit_of_work(notes: Notes) -> None:
    async def read() -> list[object]:
        await notes.rows.get("n-1")
        await notes.rows.list_all()
        return [get_current_uow(), get_current_uow()]

    notes.on_read(read)

    found = (await notes.mediator.query(Read())).result

    (reader,) = notes.readers
    assert found == [reader, reader]
    assert reader.state is UnitOfWorkState.ROLLED_BACK
    assert get_current_uow() is None


async def test_query_that_reads_nothing_creates_no_unit_of_work(notes: Notes) -> None:
    async def read() -> int:
        return 7

    notes.on_read(read)

    assert (await notes.mediator.query(Read())).result == 7
    assert notes.readers == []


async def test_query_handler_with_a_uow_parameter_gets_the_read_only_unit_of_work(
    notes: Notes,
) -> None:
    @notes.handlers.query_handler
    async def read(query: Read, uow: UnitOfWork) -> UnitOfWork:
        return uow

    found = (await notes.mediator.query(Read())).result

    assert [found] == notes.readers
    assert found.read_only


async def test_write_in_a_query_is_rejected_and_the_unit_of_work_rolled_back(notes: Notes) -> None:
    async def write() -> None:
        await notes.rows.add(Note(id="n-1"))

    notes.on_read(write)

    with pytest.raises(ReadOnlyError, match="send a command"):
        await notes.mediator.query(Read())

    assert [each.state for each in notes.readers] == [UnitOfWorkState.ROLLED_BACK]
    assert await notes.rows.get("n-1") is None


async def test_command_inside_a_query_is_rejected_by_name(notes: Notes) -> None:
    async def send() -> None:
        await notes.mediator.send(Write(note_id="n-1"))

    notes.on_read(send)

    with pytest.raises(ReadOnlyError, match="cannot send Write in a read-only .* after the query"):
        await notes.mediator.query(Read())


async def test_query_that_enters_its_own_unit_of_work_may_write_there(notes: Notes) -> None:
    async def write() -> None:
        async with InMemoryUnitOfWork():
            await notes.mediator.send(Write(note_id="n-1"))
        await notes.rows.get("n-1")

    notes.on_read(write)

    await notes.mediator.query(Read())

    assert await notes.rows.get("n-1") is not None
    assert len(notes.readers) == 1


async def test_query_runs_in_the_open_unit_of_work_of_its_caller(notes: Notes) -> None:
    async def read() -> object:
        return get_current_uow(), await notes.rows.get("n-1")

    notes.on_read(read)

    async with InMemoryUnitOfWork() as uow:
        await notes.rows.add(Note(id="n-1"))
        current, found = (await notes.mediator.query(Read())).result

    assert current is uow
    assert found is not None
    assert notes.readers == []


async def test_nested_query_shares_the_unit_of_work_of_its_query(notes: Notes) -> None:
    async def read() -> object:
        return get_current_uow()

    notes.on_read(read)

    @notes.handlers.query_handler
    async def read_twice(query: ReadTwice) -> list[object]:
        inner = (await notes.mediator.query(Read())).result
        return [inner, get_current_uow()]

    found = (await notes.mediator.query(ReadTwice())).result

    assert found == [*notes.readers, *notes.readers]
    assert len(notes.readers) == 1


async def test_error_and_cancellation_of_a_query_roll_its_unit_of_work_back(notes: Notes) -> None:
    async def read() -> None:
        await notes.rows.get("n-1")
        await notes.rows.get("n-2")

    notes.on_read(read)

    async def check() -> None:
        assert get_current_uow() is None
        assert {each.state for each in notes.readers} <= {UnitOfWorkState.ROLLED_BACK}

    assert await cancel_sweep(lambda: notes.mediator.query(Read()), check) > 0


async def test_task_that_outlives_its_query_does_not_use_its_unit_of_work(notes: Notes) -> None:
    ended = asyncio.Event()
    tasks: list[asyncio.Task[UnitOfWork | None]] = []

    async def later() -> UnitOfWork | None:
        await ended.wait()
        return get_current_uow()

    async def read() -> None:
        tasks.append(asyncio.ensure_future(later()))

    notes.on_read(read)

    await notes.mediator.query(Read())
    ended.set()

    assert await tasks[0] is None
    assert notes.readers == []


async def test_parallel_reads_of_one_query_are_rejected(notes: Notes) -> None:
    async def read() -> None:
        await asyncio.gather(notes.rows.get("n-1"), notes.rows.get("n-2"))

    notes.on_read(read)

    with pytest.raises(ConcurrentUseError):
        await notes.mediator.query(Read())


async def test_cache_is_filled_in_a_query(notes: Notes) -> None:
    cached = CachingRepository(notes.rows, InMemoryCacheService(), Note)
    await notes.rows.add(Note(id="n-1"))
    loads: list[str] = []
    get = notes.rows.get

    async def count(entity_id: str, uow: UnitOfWork | None = None) -> Note | None:
        loads.append(entity_id)
        return await get(entity_id, uow)

    notes.rows.get = count  # type: ignore[method-assign]

    async def read() -> object:
        return await cached.get("n-1")

    notes.on_read(read)

    first = (await notes.mediator.query(Read())).result
    second = (await notes.mediator.query(Read())).result

    assert first == second
    assert loads == ["n-1"]


async def test_factory_of_queries_must_create_read_only_units_of_work(notes: Notes) -> None:
    async def read() -> None:
        await notes.rows.get("n-1")

    notes.on_read(read)
    mediator = Mediator(
        notes.handlers, uow_factory=InMemoryUnitOfWork, query_uow_factory=InMemoryUnitOfWork
    )

    with pytest.raises(ConfigError, match="that can write; pass read_only=True"):
        await mediator.query(Read())


async def test_plan_of_a_query_names_the_factory_of_its_unit_of_work(notes: Notes) -> None:
    notes.on_read(notes.rows.list_all)

    assert notes.mediator.explain(Read).unit_of_work == "Notes._new_reader"


@pytest.mark.parametrize("call", ["commit", "rollback"])
async def test_handler_cannot_end_the_unit_of_work_of_its_mediator(notes: Notes, call: str) -> None:
    async def end() -> None:
        uow = get_current_uow()
        assert uow is not None
        await getattr(uow, call)()

    class End(Command[None]):
        pass

    @notes.handlers.command_handler(End)
    async def handle(command: End) -> None:
        await notes.rows.add(Note(id="n-1"))
        await end()

    notes.on_read(end)

    with pytest.raises(InvalidOperationError, match="the mediator ends this unit of work"):
        await notes.mediator.send(End())
    with pytest.raises(InvalidOperationError, match="return to commit, or raise an error"):
        await notes.mediator.query(Read())

    assert await notes.rows.get("n-1") is None


async def test_caller_ends_its_own_unit_of_work_after_a_command(notes: Notes) -> None:
    async with InMemoryUnitOfWork() as uow:
        await notes.mediator.send(Write(note_id="n-1"))
        await uow.commit()
        with contextlib.suppress(InvalidOperationError):
            await uow.rollback()

    assert await notes.rows.get("n-1") is not None
