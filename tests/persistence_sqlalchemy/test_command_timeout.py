"""Time limit of commands with statements that wait for a locked table."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    Command,
    CommandTimeoutError,
    ErrorClass,
    IMessagePublisher,
    OutboxMessage,
    PersistenceError,
    TimeoutMiddleware,
    classify_error,
    standard_middlewares,
)
from cqrs_ddd_core.primitives.exceptions import EventStoreError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_core.testing.contracts.outbox import message
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend, VersionMixin
from cqrs_ddd_persistence_sqlalchemy.engine import Connections
from cqrs_ddd_persistence_sqlalchemy.engine.driver_errors import sqlstate
from tests.databases import new_database

CONNECTIONS = 20
"""Size of the pool of an application."""


class Base(DeclarativeBase):
    pass


class JarModel(VersionMixin, Base):
    __tablename__ = "jars"

    id: Mapped[str] = mapped_column(primary_key=True)


class Jar(AggregateRoot[str]):
    pass


class FillJar(Command[None]):
    """Command that needs the table."""

    jar_id: str


class Ping(Command[str]):
    """Command that does not need the table."""


@pytest.fixture
def url(postgres_url: str) -> str:
    return new_database(postgres_url)


async def test_locked_table_fails_its_own_commands_in_time_and_no_others(url: str) -> None:
    backend = SQLAlchemyBackend(url, create_schema=True)
    jars = backend.repository(Jar, JarModel)
    published = asyncio.Event()

    class Publisher(IMessagePublisher):
        async def publish(self, message: OutboxMessage) -> None:
            published.set()

    app = Application(
        backend, publisher=Publisher(), middlewares=standard_middlewares(TimeoutMiddleware(0.3))
    )

    @app.command_handler
    async def fill(command: FillJar) -> None:
        await jars.add(Jar(id=command.jar_id))

    @app.command_handler
    async def ping(command: Ping) -> str:
        return "pong"

    async with app, backend.background.engine.connect() as other:
        await other.execute(text("LOCK TABLE jars IN ACCESS EXCLUSIVE MODE"))
        # Each of them holds one connection of the pool, or waits for one, until its time is over.
        late = [
            asyncio.ensure_future(app.send(FillJar(jar_id=f"j-{n}"))) for n in range(CONNECTIONS)
        ]
        await backend.background.outbox.save_messages([message(None)])
        await asyncio.wait_for(published.wait(), 10)
        errors = await asyncio.gather(*late, return_exceptions=True)
        # The connections are free again, although the table is still locked.
        answers = await asyncio.gather(*(app.send(Ping()) for _ in range(CONNECTIONS)))
        waiting = await other.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )
        await other.rollback()
        await app.send(FillJar(jar_id="j-100"))
        stored = await jars.get("j-100"), await jars.get("j-1")

    assert {type(each) for each in errors} == {CommandTimeoutError}
    assert {each.result for each in answers} == {"pong"}
    assert (stored[0] is not None, stored[1]) == (True, None)
    assert waiting == 0


@pytest.mark.parametrize(
    ("setting", "statement", "code"),
    [
        ("lock_timeout", "SELECT * FROM jars", "55P03"),
        ("statement_timeout", "SELECT pg_sleep(60)", "57014"),
    ],
)
async def test_exceeded_time_limit_of_the_server_is_a_transient_error(
    url: str, setting: str, statement: str, code: str
) -> None:
    limited = create_async_engine(url, connect_args={"server_settings": {setting: "50ms"}})
    backend = SQLAlchemyBackend(limited)
    async with limited.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)

    async with limited.connect() as other:
        await other.execute(text("LOCK TABLE jars IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(PersistenceError) as caught:
            await _read(backend, statement)
    await limited.dispose()

    assert classify_error(caught.value) is ErrorClass.TRANSIENT
    assert caught.value.__cause__ is not None
    assert sqlstate(caught.value.__cause__) == code


async def _read(backend: SQLAlchemyBackend, statement: str) -> None:
    connections = Connections(backend.session_factory)
    async with connections.read_connection(None, "read") as connection:
        await connection.execute(text(statement))


@pytest.mark.parametrize("appends", [True, False], ids=["append", "commit"])
async def test_transaction_that_was_idle_for_too_long_is_not_stored(
    url: str, appends: bool
) -> None:
    async with SQLAlchemyBackend(url, create_schema=True):
        pass
    setting = "idle_in_transaction_session_timeout"
    limited = create_async_engine(url, connect_args={"server_settings": {setting: "200ms"}})
    backend = SQLAlchemyBackend(limited)
    stream = new_stream()

    async def work() -> None:
        async with backend.unit_of_work() as uow:
            await uow.event_store.append(event(stream, 1))
            await asyncio.sleep(1.0)
            if appends:
                await uow.event_store.append(event(stream, 2))

    with pytest.raises(EventStoreError if appends else PersistenceError) as caught:
        await work()
    stored = await backend.event_store.get_events(stream.aggregate_id)
    await limited.dispose()

    assert classify_error(caught.value) is ErrorClass.TRANSIENT
    assert stored == []
