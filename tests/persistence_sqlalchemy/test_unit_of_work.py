"""Tests of the SQLAlchemy unit of work beyond its contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from sqlalchemy import Table, select, text
from sqlalchemy import event as listening
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    ConfigError,
    EventStoreError,
    InfrastructureError,
    InvalidOperationError,
    OptimisticConcurrencyError,
    PersistenceError,
)
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_core.testing.contracts.parcel import Parcel, new_parcel_id
from cqrs_ddd_core.unit_of_work import UnitOfWorkState
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    SQLAlchemyUnitOfWork,
    Tables,
)
from cqrs_ddd_persistence_sqlalchemy.engine.driver import fetch, get_driver
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory
from tests.persistence_sqlalchemy.parcels import Parcels


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


@pytest.fixture
async def notes(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)


@pytest.fixture
def store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyEventStore:
    return SQLAlchemyEventStore(session_factory, tables=tables)


async def _texts(session_factory: SessionFactory) -> list[str]:
    async with session_factory() as session:
        return list(await session.scalars(select(Note.text).order_by(Note.id)))


async def test_unit_of_work_requires_either_a_session_or_a_session_factory(
    session_factory: SessionFactory,
) -> None:
    with pytest.raises(ConfigError, match="either a session or a"):
        SQLAlchemyUnitOfWork()
    async with session_factory() as session:
        with pytest.raises(ConfigError, match="either a session or a"):
            SQLAlchemyUnitOfWork(session, session_factory)


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("first", ["session", "events"])
async def test_session_rows_and_events_are_committed_together(
    new_uow: NewUnitOfWork,
    session_factory: SessionFactory,
    store: SQLAlchemyEventStore,
    first: str,
) -> None:
    stream = new_stream()
    for ends in ("rollback", "commit"):
        async with new_uow() as uow:
            if first == "session":
                uow.session.add(Note(id=1, text=ends))
                await uow.event_store.append(event(stream, 1))
            else:
                await uow.event_store.append(event(stream, 1))
                uow.session.add(Note(id=1, text=ends))
            if ends == "rollback":
                await uow.rollback()

    assert await _texts(session_factory) == ["commit"]
    assert len(await store.get_events(stream.aggregate_id)) == 1


@pytest.mark.usefixtures("notes")
async def test_session_of_the_caller_stays_open_after_the_unit_of_work(
    session_factory: SessionFactory, tables: Tables, store: SQLAlchemyEventStore
) -> None:
    stream = new_stream()
    async with session_factory() as session:
        async with SQLAlchemyUnitOfWork(session, tables=tables) as uow:
            session.add(Note(id=1, text="kept"))
            await uow.event_store.append(event(stream, 1))
        assert await session.scalar(select(Note.text)) == "kept"
        async with SQLAlchemyUnitOfWork(session=session, tables=tables) as uow:
            session.add(Note(id=2, text="lost"))
            await uow.event_store.append(event(stream, 2))
            await uow.rollback()

    assert await _texts(session_factory) == ["kept"]
    assert len(await store.get_events(stream.aggregate_id)) == 1


async def test_appending_events_creates_no_session(new_uow: NewUnitOfWork) -> None:
    async with new_uow() as uow:
        await uow.event_store.append(event(new_stream(), 1))
        assert uow._session is None


async def test_rollback_to_a_session_savepoint_removes_events(
    new_uow: NewUnitOfWork, store: SQLAlchemyEventStore
) -> None:
    kept, lost = new_stream(), new_stream()

    async with new_uow() as uow:
        async with uow.session.begin_nested() as savepoint:
            await uow.event_store.append(event(lost, 1))
            await savepoint.rollback()
        async with uow.session.begin_nested():
            await uow.event_store.append(event(kept, 1))

    assert await store.get_events(lost.aggregate_id) == []
    assert len(await store.get_events(kept.aggregate_id)) == 1


@pytest.mark.usefixtures("notes")
async def test_unit_of_work_cannot_commit_after_its_session_was_rolled_back(
    new_uow: NewUnitOfWork, session_factory: SessionFactory
) -> None:
    async def work() -> None:
        async with new_uow() as uow:
            await uow.event_store.append(event(new_stream(), 1))
            uow.session.add(Note(id=1, text="lost"))
            await uow.session.flush()
            await uow.session.rollback()

    with pytest.raises(
        InvalidOperationError, match="the session was rolled back without its unit of work"
    ):
        await work()

    assert await _texts(session_factory) == []


@pytest.mark.usefixtures("notes")
async def test_commit_of_the_session_does_not_commit_the_unit_of_work(
    new_uow: NewUnitOfWork, session_factory: SessionFactory
) -> None:
    async with new_uow() as uow:
        await uow.event_store.append(event(new_stream(), 1))
        uow.session.add(Note(id=1, text="lost"))
        await uow.session.commit()
        await uow.rollback()

    assert await _texts(session_factory) == []


async def test_released_savepoint_is_undone_by_the_rollback_of_the_unit_of_work(
    new_uow: NewUnitOfWork, store: SQLAlchemyEventStore
) -> None:
    stream = new_stream()

    async with new_uow() as uow:
        async with uow.session.begin_nested():
            await uow.event_store.append(event(stream, 1))
        await uow.rollback()

    assert await store.get_events(stream.aggregate_id) == []


async def test_statement_on_the_driver_connection_is_undone_by_the_rollback(
    engine: AsyncEngine, new_uow: NewUnitOfWork, tables: Tables, store: SQLAlchemyEventStore
) -> None:
    """Compare with plain SQLAlchemy, which commits a driver statement that comes first."""
    stream = new_stream()
    insert_inbox = tables.inbox.fullname
    if tables.schema:
        insert_inbox = f'"{tables.schema}".{tables.inbox.name}'
    sql = (
        f"INSERT INTO {insert_inbox} (consumer, message_id, fingerprint, registered_at) "
        "VALUES ('c', 'm', 'f', '2026-01-01 00:00:00+00')"
    )

    async with new_uow() as uow:
        await fetch(await uow.connection(), sql)
        await uow.event_store.append(event(stream, 1))
        await uow.rollback()
    assert await _count(engine, tables.inbox) == 0
    assert await store.get_events(stream.aggregate_id) == []

    if engine.dialect.name == "postgresql":
        async with engine.connect() as naive:
            await naive.begin()
            driver = (await naive.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.execute(sql)
            await naive.rollback()
        assert await _count(engine, tables.inbox) == 1


async def _count(engine: AsyncEngine, table: Table) -> int:
    async with engine.connect() as connection:
        return len((await connection.execute(select(table))).all())


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("first", ["session", "connection"])
async def test_commit_after_a_failed_statement_raises_an_error_on_postgres(
    new_uow: NewUnitOfWork, session_factory: SessionFactory, engine: AsyncEngine, first: str
) -> None:
    """Check that the ROLLBACK with which PostgreSQL answers such a COMMIT is detected."""
    hooks: list[str] = []

    async def hook() -> None:
        hooks.append("ran")

    async def work() -> None:
        async with new_uow() as uow:
            if first == "connection":
                await uow.connection()
            uow.session.add(Note(id=1, text="lost"))
            await uow.session.flush()
            with pytest.raises(SQLAlchemyError):
                await uow.session.execute(text("SELECT no_such_function()"))
            uow.on_commit(hook)

    if engine.dialect.name == "postgresql":
        with pytest.raises(PersistenceError, match="cannot commit: "):
            await work()
        assert hooks == []
        assert await _texts(session_factory) == []
    else:
        await work()
        assert await _texts(session_factory) == ["lost"]

    async with engine.connect() as connection:
        await connection.begin()
        with pytest.raises(SQLAlchemyError):
            await connection.execute(text("SELECT no_such_function()"))
        await connection.commit()  # Plain SQLAlchemy reports no error.


@pytest.mark.usefixtures("notes")
async def test_failed_statement_within_a_savepoint_does_not_fail_the_commit(
    new_uow: NewUnitOfWork, session_factory: SessionFactory
) -> None:
    async with new_uow() as uow:
        uow.session.add(Note(id=1, text="kept"))
        with pytest.raises(SQLAlchemyError):
            async with uow.session.begin_nested():
                await uow.session.execute(text("SELECT no_such_function()"))

    assert await _texts(session_factory) == ["kept"]


@pytest.mark.usefixtures("notes")
async def test_driver_errors_at_the_commit_are_translated(
    new_uow: NewUnitOfWork, session_factory: SessionFactory
) -> None:
    async with new_uow() as uow:
        uow.session.add(Note(id=1, text="first"))

    async def insert_again() -> None:
        async with new_uow() as uow:
            uow.session.add(Note(id=1, text="second"))

    async def update_late() -> None:
        async with new_uow() as late:
            note = await late.session.get_one(Note, 1)
            async with new_uow() as early:
                (await early.session.get_one(Note, 1)).text = "early"
            note.text = "late"

    with pytest.raises(PersistenceError, match="cannot commit"):
        await insert_again()
    with pytest.raises(OptimisticConcurrencyError, match="reload it and retry"):
        await update_late()
    assert await _texts(session_factory) == ["early"]


async def test_fifty_concurrent_tasks_lose_no_update_of_one_row(
    session_factory: SessionFactory, tables: Tables, engine: AsyncEngine, new_uow: NewUnitOfWork
) -> None:
    parcels = Parcels(session_factory, tables.schema)
    async with engine.begin() as connection:
        await connection.run_sync(parcels.metadata.create_all)
    parcel_id = new_parcel_id()
    await parcels.add(Parcel.register(parcel_id, owner="anna"))

    async def weigh(grams: int) -> None:
        while True:
            try:
                async with new_uow() as uow:
                    parcel = await parcels.get(parcel_id, uow)
                    assert parcel is not None
                    parcel.weigh(grams)
                    await parcels.add(parcel, uow)
                    return
            except ConcurrencyError:
                await asyncio.sleep(0.001)

    await asyncio.gather(*(weigh(grams) for grams in range(50)))

    weighed = await parcels.get(parcel_id)
    assert weighed is not None
    assert weighed.version == 51


async def test_deadlocked_transaction_gets_a_concurrency_error(
    new_uow: NewUnitOfWork, backend: str
) -> None:
    one, two = new_stream(), new_stream()

    async def append(first: object, second: object) -> None:
        async with new_uow() as uow:
            for stream in (first, second):
                await uow.event_store.append(event(stream, 1))  # type: ignore[arg-type]
                await asyncio.sleep(0.05)

    answers = await asyncio.gather(append(one, two), append(two, one), return_exceptions=True)

    (failure,) = [answer for answer in answers if answer is not None]
    assert isinstance(failure, ConcurrencyError), answers


async def test_unit_of_work_rejects_a_sqlite_engine_that_is_not_configured(
    tmp_path: object,
) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/bare.db")
    with pytest.raises(ConfigError, match=r"configure_sqlite\(engine\)"):
        async with SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(engine)) as uow:
            await uow.event_store.append(event(new_stream(), 1))
    await engine.dispose()


@pytest.mark.usefixtures("tables")
async def test_unit_of_work_rejects_session_factories_with_unsupported_options(
    new_engine: Callable[..., AsyncEngine],
) -> None:
    other_engine = new_engine()

    async def work(factory: SessionFactory) -> None:
        async with SQLAlchemyUnitOfWork(session_factory=factory) as uow:
            assert uow.session
            await uow.connection()

    for factory, message in (
        (async_sessionmaker(binds={Note: other_engine}), "create it with bind="),
        (
            async_sessionmaker(other_engine.execution_options(schema_translate_map={None: "a"})),
            "schema_translate_map",
        ),
        (
            async_sessionmaker(other_engine.execution_options(isolation_level="AUTOCOMMIT")),
            "AUTOCOMMIT",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            await work(factory)
    await other_engine.dispose()


async def test_unit_of_work_uses_the_engine_configured_later_on_the_factory(
    new_engine: Callable[..., AsyncEngine], tables: Tables, store: SQLAlchemyEventStore
) -> None:
    factory: SessionFactory = async_sessionmaker(new_engine())
    other_engine = new_engine()
    factory.configure(bind=other_engine)

    async with SQLAlchemyUnitOfWork(session_factory=factory, tables=tables) as uow:
        await uow.event_store.append(event(new_stream(), 1))
        assert (await uow.connection()).engine is other_engine
    await other_engine.dispose()


async def test_error_before_the_commit_rolls_the_unit_of_work_back(
    new_uow: NewUnitOfWork, store: SQLAlchemyEventStore
) -> None:
    def reject(session: object) -> None:
        raise LookupError("rejected by a policy")

    async def work() -> None:
        async with uow:
            await uow.event_store.append(event(new_stream(), 1))
            listening.listen(uow.session.sync_session, "before_commit", reject)

    uow = new_uow()
    with pytest.raises(LookupError):
        await work()

    assert uow.state is UnitOfWorkState.ROLLED_BACK
    assert await store.get_events_after(0) == []


async def test_block_that_ends_before_its_task_leaves_no_open_connection(
    new_uow: NewUnitOfWork, engine: AsyncEngine, store: SQLAlchemyEventStore
) -> None:
    tasks = []

    async def work() -> None:
        async with new_uow() as uow:
            tasks.append(asyncio.ensure_future(uow.event_store.append(event(new_stream(), 1))))
            await asyncio.sleep(0)
            raise LookupError

    with pytest.raises(LookupError):
        await work()
    await asyncio.wait(tasks)

    assert tasks[0].exception() is not None
    assert await store.get_events_after(0) == []


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_unit_of_work_keeps_isolation_level_and_read_only_mode_of_the_engine(
    new_engine: Callable[..., AsyncEngine], tables: Tables
) -> None:
    engine = new_engine()
    for options, statement, answer in (
        ({"isolation_level": "SERIALIZABLE"}, "SHOW transaction_isolation", "serializable"),
        ({"postgresql_readonly": True}, "SHOW transaction_read_only", "on"),
    ):
        sessions = async_sessionmaker(engine.execution_options(**options))
        async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=tables) as uow:
            await uow.event_store.get_events("absent")
            for _ in range(2):
                assert await (await uow.connection()).scalar(text(statement)) == answer
    await engine.dispose()


async def test_append_conflict_within_a_savepoint_is_a_concurrency_error(
    new_uow: NewUnitOfWork, store: SQLAlchemyEventStore
) -> None:
    stream = new_stream()
    await store.append(event(stream, 1))

    async def work(*, events_first: bool) -> None:
        async with new_uow() as uow:
            if events_first:
                await uow.event_store.get_events(stream.aggregate_id)
            async with uow.session.begin_nested():
                await uow.event_store.append(event(stream, 1))

    for events_first in (True, False):
        with pytest.raises(OptimisticConcurrencyError):
            await work(events_first=events_first)


async def test_event_store_rejects_a_unit_of_work_of_another_kind_or_engine(
    session_factory: SessionFactory,
    tables: Tables,
    store: SQLAlchemyEventStore,
    new_engine: Callable[..., AsyncEngine],
) -> None:
    async with InMemoryUnitOfWork():
        with pytest.raises(InvalidOperationError, match="cannot join a InMemoryUnitOfWork"):
            await store.append(event(new_stream(), 1))
    other_engine = new_engine()
    uow = SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(other_engine), tables=tables)
    async with uow:
        with pytest.raises(InvalidOperationError, match="on the same engine"):
            await store.append(event(new_stream(), 1))
    await other_engine.dispose()


async def test_error_for_missing_tables_names_create_schema(
    session_factory: SessionFactory,
) -> None:
    absent = Tables(prefix="absent_")
    for work in (
        SQLAlchemyEventStore(session_factory, tables=absent).append(event(new_stream(), 1)),
        SQLAlchemyEventStore(session_factory, tables=absent).get_events_after(0),
        SQLAlchemyOutboxStorage(session_factory, tables=absent).get_pending(),
        SQLAlchemyInbox(session_factory, tables=absent).register("c", "m", "f"),
    ):
        with pytest.raises(InfrastructureError, match=r"create_schema\(engine\)"):
            await work


async def test_error_while_closing_after_the_commit_is_only_logged(
    new_uow: NewUnitOfWork, caplog: pytest.LogCaptureFixture
) -> None:
    uow = new_uow()

    async def fail(*, interrupted: bool) -> None:
        await close(interrupted=interrupted)
        raise OSError("gone")

    close = uow._close
    uow._close = fail  # type: ignore[method-assign]

    with caplog.at_level(logging.WARNING):
        async with uow:
            await uow.event_store.append(event(new_stream(), 1))

    assert uow.state is UnitOfWorkState.COMMITTED
    assert "the commit stands" in caplog.text


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_rollback_of_a_lost_connection_opens_no_other_connection(
    new_uow: NewUnitOfWork, engine: AsyncEngine
) -> None:
    opened: list[object] = []
    async with new_uow() as uow:
        connection = await uow.driver_connection()
        ((process,),) = await fetch(connection, "SELECT pg_backend_pid()")
        closed = asyncio.Event()
        get_driver(connection).add_termination_listener(lambda _: closed.set())
        async with engine.connect() as other:
            await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": process})
            await asyncio.wait_for(closed.wait(), 10)
            listening.listen(engine.sync_engine, "do_connect", lambda *given: opened.append(given))
            with pytest.raises(EventStoreError):
                await uow.event_store.get_events("absent")
            assert connection.invalidated

            await uow.rollback()

    assert not opened
