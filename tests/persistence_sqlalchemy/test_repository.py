"""Tests of the SQLAlchemy repository, by the contracts and beyond, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import AsyncAdaptedQueuePool

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_core.domain import ISpecification
from cqrs_ddd_core.ports import IBulkRepository, UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrentUseError,
    InvalidOperationError,
    MultipleResultsError,
    OptimisticConcurrencyError,
    UnsavedChangesError,
)
from cqrs_ddd_core.testing.contracts.bulk_repository import BulkRepositoryContract
from cqrs_ddd_core.testing.contracts.parcel import Parcel, new_parcel_id
from cqrs_ddd_core.testing.contracts.repository import (
    Options,
    RepositoryContract,
    Where,
)
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork, Tables
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions
from cqrs_ddd_specifications.exceptions import UnsupportedOperatorError
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory
from tests.persistence_sqlalchemy.parcels import Parcels


@pytest.fixture
def where() -> Where:
    return AttributeSpecification


@pytest.fixture
def options() -> Options:
    return QueryOptions


class TestSQLAlchemyRepository(RepositoryContract, BulkRepositoryContract):
    pass


async def _store(parcels: Parcels, number: int, owner: str = "anna") -> list[str]:
    many = [Parcel.register(new_parcel_id(), owner) for _ in range(number)]
    for grams, parcel in enumerate(many):
        parcel.grams = grams
    return await parcels.add_many(many)


async def test_list_by_any_number_of_ids_is_one_statement_with_the_same_text(
    parcels: Parcels, statements: list[str]
) -> None:
    ids = await _store(parcels, 3)
    statements.clear()

    one = await parcels.list_all(ids[:1])
    many = await parcels.list_all([*ids, *(f"absent {n}" for n in range(100_000))])

    assert [parcel.id for parcel in one] == ids[:1]
    assert [parcel.id for parcel in many] == ids
    assert len(statements) == 2
    assert statements[0] == statements[1]


async def test_repository_inserts_a_thousand_aggregates_in_one_statement(
    parcels: Parcels, statements: list[str]
) -> None:
    await _store(parcels, 1000)

    assert len([sent for sent in statements if sent.startswith("INSERT")]) == 1


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_saves_of_the_same_aggregates_in_opposite_orders_do_not_deadlock(
    parcels: Parcels,
) -> None:
    ids = await _store(parcels, 100)

    for _ in range(5):
        first, second = await parcels.list_all(ids), (await parcels.list_all(ids))[::-1]

        answers = await asyncio.gather(
            parcels.add_many(first), parcels.add_many(second), return_exceptions=True
        )

        saved = [each for each in answers if isinstance(each, list)]
        assert saved in ([[parcel.id for parcel in first]], [[parcel.id for parcel in second]])
        assert [type(each) for each in answers if each not in saved] == [OptimisticConcurrencyError]


async def test_repository_rejects_a_subclass_with_additional_fields(
    parcels: Parcels,
) -> None:
    class Insured(Parcel):
        worth: int = 0
        insurer: str = ""

    class Plain(Parcel):
        pass

    insured, plain = (kind(id=new_parcel_id(), owner="anna") for kind in (Insured, Plain))
    message = f"cannot save Insured {insured.id} as a Parcel, which lacks worth, insurer"

    with pytest.raises(InvalidOperationError, match=message):
        await parcels.add(insured)
    with pytest.raises(InvalidOperationError, match=message):
        await parcels.add_many([plain, insured])
    await parcels.add(plain)

    assert await parcels.get(insured.id) is None
    assert await parcels.get(plain.id) is not None


class Thing(AggregateRoot[str]):
    pass


@asynccontextmanager
async def _create_things(
    table: str, engine: AsyncEngine
) -> AsyncIterator[SQLAlchemyRepository[Thing, str]]:
    class Base(DeclarativeBase):
        pass

    class ThingModel(VersionMixin, Base):
        __tablename__ = table
        id: Mapped[str] = mapped_column(primary_key=True)

    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    things = SQLAlchemyRepository[Thing, str](Thing, ThingModel, async_sessionmaker(engine))
    await things.add(Thing(id="t-1"))
    yield things
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


async def test_repository_works_with_any_table_name(engine: AsyncEngine) -> None:
    async with _create_things("found", engine) as things:
        result = await things.search(QueryOptions())

        assert [thing.id async for thing in result.stream(batch_size=1)] == ["t-1"]


async def test_streams_of_two_repositories_can_share_a_connection(
    engine: AsyncEngine, parcels: Parcels, new_uow: NewUnitOfWork
) -> None:
    (parcel_id,) = await _store(parcels, 1)

    # A statement that PostgreSQL prepared for one cursor would not fit the other.
    async with _create_things("things", engine) as things, new_uow() as uow:
        for _ in range(2):
            result: Any = await things.search(QueryOptions(), uow)
            assert [thing.id async for thing in result.stream()] == ["t-1"]
            result = await parcels.search(QueryOptions(), uow)
            assert [parcel.id async for parcel in result.stream()] == [parcel_id]


async def test_pages_contain_each_of_equally_ordered_aggregates_once(parcels: Parcels) -> None:
    ids = await _store(parcels, 10)
    options = QueryOptions(AttributeSpecification("id", "in", ids), ordering=("owner",))

    pages = [
        await (await parcels.search(options.with_pagination(limit=3, offset=offset)))
        for offset in range(0, 12, 3)
    ]

    assert sorted(parcel.id for page in pages for parcel in page) == sorted(ids)
    unordered = await (await parcels.search(replace(options, ordering=(), limit=4)))
    assert [parcel.id for parcel in unordered] == sorted(ids)[:4]


async def test_next_page_starts_after_the_last_aggregate_of_the_page(parcels: Parcels) -> None:
    ids = await _store(parcels, 7)
    mine = AttributeSpecification("id", "in", ids)
    options = QueryOptions(mine, ordering=("-grams", "id"), limit=3)

    seen: list[str] = []
    while page := await (await parcels.search(options)):
        seen += [parcel.id for parcel in page]
        options = options.next_page(page[-1])

    assert seen == ids[::-1]


async def test_search_rejects_criteria_without_sql_and_selected_fields(parcels: Parcels) -> None:
    class HeavyParcels(ISpecification[Parcel]):
        def is_satisfied_by(self, candidate: Parcel) -> bool:
            return True

    with pytest.raises(UnsupportedOperatorError, match="cannot be translated to SQL"):
        await parcels.search(HeavyParcels())
    with pytest.raises(InvalidOperationError, match="apply_query_options"):
        await parcels.search(QueryOptions(select_fields=("owner",)))


async def test_unit_of_work_is_usable_between_the_batches_of_a_repository_stream(
    parcels: Parcels, new_uow: NewUnitOfWork
) -> None:
    ids = await _store(parcels, 10)
    result = await parcels.search(QueryOptions(ordering=("grams",)))

    async with new_uow() as uow:
        result = await parcels.search(QueryOptions(ordering=("grams",)), uow)
        async for parcel in result.stream(batch_size=3):
            parcel.weigh((parcel.grams or 0) + 100)
            await parcels.add(parcel, uow)
            assert await parcels.get(parcel.id, uow) == parcel

    assert [parcel.grams for parcel in await parcels.list_all(ids)] == list(range(100, 110))


class OccupyingParcels(Parcels):
    """Repository that occupies the unit of work from the first row of a stream to the last."""

    async def _stream(
        self, query: Select[Any], scope: Any, size: int, uow: UnitOfWork | None
    ) -> AsyncIterator[Parcel]:
        async with self._connections.join_transaction(uow, "search") as active:
            for row in await (await active.connection()).execute(query):
                yield self.mapper.from_row(dict(zip(self.mapper.attributes, row)))  # noqa: B905


async def test_stream_check_catches_a_repository_stream_that_occupies_the_unit_of_work(
    parcels: Parcels, session_factory: SessionFactory, tables: Tables, new_uow: NewUnitOfWork
) -> None:
    naive = OccupyingParcels(session_factory, tables.schema)

    with pytest.raises(ConcurrentUseError):
        await test_unit_of_work_is_usable_between_the_batches_of_a_repository_stream(naive, new_uow)


async def test_stream_returns_the_aggregates_that_existed_when_it_began(
    parcels: Parcels, new_uow: NewUnitOfWork
) -> None:
    ids = await _store(parcels, 9)

    async with new_uow() as uow:
        seen: list[str] = []
        result = await parcels.search(QueryOptions(ordering=("grams",)), uow)
        async for parcel in result.stream(batch_size=2):
            seen.append(parcel.id)
            if len(seen) == 1:
                for each in ids[4:]:
                    await parcels.delete(each, uow)
                new = Parcel.register(new_parcel_id(), "anna")
                await parcels.add(new, uow)
            parcel.grams = 1000
            if parcel.id in ids[:4]:
                await parcels.add(parcel, uow)

    assert seen == ids


async def test_repository_stream_holds_one_batch_in_memory(
    parcels: Parcels, new_uow: NewUnitOfWork
) -> None:
    await _store(parcels, 60)
    gc.collect()
    gc.freeze()  # A scan of the objects of other tests would take seconds each time.

    async def measure_most_alive(uow: SQLAlchemyUnitOfWork | None) -> int:
        most, seen = 0, 0
        before = sum(type(each) is Parcel for each in gc.get_objects())
        async for _ in (await parcels.search(QueryOptions(), uow)).stream(batch_size=5):
            seen += 1
            if seen % 25 == 1:
                gc.collect()
                alive = sum(type(each) is Parcel for each in gc.get_objects())
                most = max(most, alive - before)
        assert seen == 60
        return most

    assert await measure_most_alive(None) <= 6
    async with new_uow() as uow:
        assert await measure_most_alive(uow) <= 6


async def test_unsaved_change_of_a_streamed_aggregate_fails_the_commit(
    parcels: Parcels, new_uow: NewUnitOfWork
) -> None:
    await _store(parcels, 6)

    async def change_one() -> None:
        async with new_uow() as uow:
            async for parcel in (await parcels.search(QueryOptions(), uow)).stream(batch_size=2):
                if parcel.grams == 1:
                    parcel.weigh(5)

    with pytest.raises(UnsavedChangesError):
        await change_one()


async def test_stream_without_a_unit_of_work_sets_no_current_unit_of_work(parcels: Parcels) -> None:
    ids = await _store(parcels, 4)

    async for parcel in (await parcels.search(QueryOptions())).stream(batch_size=2):
        assert get_current_uow() is None
        parcel.weigh(7)
        await parcels.add(parcel)

    assert [parcel.grams for parcel in await parcels.list_all(ids)] == [7] * 4


async def _break(stream: AsyncIterator[Parcel]) -> None:
    async for _ in stream:
        break


async def _raise(stream: AsyncIterator[Parcel]) -> None:
    with suppress(LookupError):
        async for _ in stream:
            raise LookupError


async def _cancel(stream: AsyncIterator[Parcel]) -> None:
    has_read = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            has_read.set()
            await asyncio.sleep(60)

    reading = asyncio.ensure_future(read())
    await has_read.wait()
    reading.cancel()
    await asyncio.wait({reading})


async def _close(stream: AsyncIterator[Parcel]) -> None:
    assert isinstance(stream, AsyncGenerator)
    async with aclosing(stream):
        await anext(stream)


@pytest.mark.parametrize("leave", [_break, _raise, _cancel, _close])
async def test_stream_left_early_releases_its_connection(
    parcels: Parcels, engine: AsyncEngine, leave: Callable[[AsyncIterator[Parcel]], Any]
) -> None:
    await _store(parcels, 6)
    pool = engine.pool
    assert isinstance(pool, AsyncAdaptedQueuePool)

    await leave((await parcels.search(QueryOptions())).stream(batch_size=2))

    for _ in range(200):
        await asyncio.sleep(0.005)
        if pool.checkedout() == 0:
            break
    assert pool.checkedout() == 0


async def test_unfinished_stream_is_closed_when_its_event_loop_ends(
    parcels: Parcels, engine: AsyncEngine
) -> None:
    await _store(parcels, 6)
    pool, started = engine.pool, list[AsyncGenerator[Any, None]]()
    assert isinstance(pool, AsyncAdaptedQueuePool)
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=started.append)
    try:
        await anext((await parcels.search(QueryOptions())).stream(batch_size=2))
    finally:
        sys.set_asyncgen_hooks(*hooks)

    # An event loop closes all generators at once at its end, in any order.
    ended = await asyncio.gather(*(each.aclose() for each in started), return_exceptions=True)

    assert [error for error in ended if error is not None] == []
    assert pool.checkedout() == 0


@pytest.mark.parametrize("leave", [_break, _raise, _cancel, _close])
async def test_stream_left_early_keeps_the_unit_of_work_usable(
    parcels: Parcels,
    new_uow: NewUnitOfWork,
    leave: Callable[[AsyncIterator[Parcel]], Any],
) -> None:
    ids = await _store(parcels, 6)

    async with new_uow() as uow:
        for _ in range(3):
            await leave((await parcels.search(QueryOptions(), uow)).stream(batch_size=2))
            assert await parcels.get(ids[0], uow) is not None
        parcel = await parcels.get(ids[0], uow)
        assert parcel is not None
        parcel.weigh(5)
        await parcels.add(parcel, uow)

    found = await parcels.get(ids[0])
    assert found is not None
    assert found.grams == 5


async def test_unit_of_work_reads_on_after_a_cancelled_read_or_can_only_be_rolled_back(
    parcels: Parcels, new_uow: NewUnitOfWork
) -> None:
    (parcel_id,) = await _store(parcels, 1)
    steps, was_cancelled, rejections = 0, True, set[str]()

    while was_cancelled:
        async with new_uow() as uow:
            await parcels.get(parcel_id, uow)  # A driver may leak a connection that it opens.
            reading = asyncio.ensure_future(parcels.get(parcel_id, uow))
            for _ in range(steps):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait({reading})
            was_cancelled, steps = reading.cancelled(), steps + 1
            try:
                assert await parcels.get(parcel_id, uow) is not None
            except InvalidOperationError as error:
                rejections.add(str(error))
                await uow.rollback()

    assert steps > 1
    assert all("the unit of work can only be rolled back" in each for each in rejections)
    assert await parcels.get(parcel_id) is not None


@pytest.mark.parametrize(
    "is_joined", [False, True], ids=["without a unit of work", "in a unit of work"]
)
async def test_cancelled_stream_releases_its_connection(
    parcels: Parcels,
    engine: AsyncEngine,
    new_uow: NewUnitOfWork,
    is_joined: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = await _store(parcels, 5)
    pool = engine.pool
    assert isinstance(pool, AsyncAdaptedQueuePool)
    seen: list[str] = []

    async def read() -> None:
        seen.clear()
        async with AsyncExitStack() as stack:
            uow = await stack.enter_async_context(new_uow()) if is_joined else None
            result = await parcels.search(QueryOptions(ordering=("grams",)), uow)
            seen.extend([parcel.id async for parcel in result.stream(batch_size=2)])

    async def check() -> None:
        assert pool.checkedout() == 0
        assert len(await parcels.list_all(ids)) == 5

    assert await cancel_sweep(read, check) > 3
    assert seen == ids
    assert "Error closing cursor" not in caplog.text


async def test_stream_ends_with_its_unit_of_work_and_releases_the_connection(
    new_engine: Callable[..., AsyncEngine], tables: Tables, parcels: Parcels
) -> None:
    ids = await _store(parcels, 6)
    engine = new_engine(pool_size=1, max_overflow=0, poolclass=AsyncAdaptedQueuePool)
    one = Parcels(async_sessionmaker(engine), tables.schema)
    uow = SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(engine))
    async with uow:
        stream = (await one.search(QueryOptions(ordering=("grams",)), uow)).stream(batch_size=2)
        await anext(stream)

    other = await parcels.get(ids[0])
    assert other is not None
    other.weigh(5)
    await parcels.add(other)
    # The one connection of the stream no longer reads an old snapshot.
    found = await one.get(ids[0])
    assert found is not None
    assert found.grams == 5
    found.weigh(6)
    await one.add(found)
    await anext(stream)
    with pytest.raises(InvalidOperationError, match="the unit of work is committed"):
        await anext(stream)
    await engine.dispose()


def test_repository_has_the_signatures_of_its_port() -> None:
    def format_signature(function: Any) -> str:
        signature = inspect.signature(function)
        parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        return str(signature.replace(parameters=parameters, return_annotation=signature.empty))

    for name in ("add", "add_many", "get", "delete", "list_all", "search"):
        ours, theirs = getattr(SQLAlchemyRepository, name), getattr(IBulkRepository, name)
        assert format_signature(ours) == format_signature(theirs), name


async def test_first_and_only_item_are_read_with_a_limit_and_counted_by_the_database(
    parcels: Parcels, statements: list[str]
) -> None:
    await _store(parcels, 3)
    result = await parcels.search(QueryOptions(ordering=("-grams",)))
    statements.clear()

    assert await result.count() == 3
    first = await result.first()
    with pytest.raises(MultipleResultsError):
        await result.one()

    assert first is not None
    assert first.grams == 2
    counting, *reading = [sent for sent in statements if sent.startswith("SELECT")]
    assert "count(*)" in counting
    assert "ORDER BY" not in counting
    assert len(reading) == 2
    assert all("LIMIT" in sent for sent in reading)
