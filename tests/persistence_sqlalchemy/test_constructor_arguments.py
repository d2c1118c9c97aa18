"""Mistakes in the arguments of constructors are errors that name the argument and the next step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from cqrs_ddd_core import AggregateRoot, ConfigError, HandlerRegistry, Mediator
from cqrs_ddd_persistence_sqlalchemy import (
    ModelMapper,
    PostgresQueueSignal,
    SQLAlchemyBackend,
    SQLAlchemyEventStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    SQLAlchemyRepository,
    SQLAlchemyUnitOfWork,
    VersionMixin,
    configure_sqlite,
    create_schema,
    metadata,
)
from tests.mistakes import Mistakes, ensure_config_error


class Shelf(AggregateRoot[str]):
    pass


class Model(DeclarativeBase):
    pass


class ShelfModel(VersionMixin, Model):
    __tablename__ = "shelves"

    id: Mapped[str] = mapped_column(primary_key=True)


ENGINE = configure_sqlite(create_async_engine("sqlite+aiosqlite:///never-opened.db"))
SESSIONS = async_sessionmaker(ENGINE)
SYNC_ENGINE = sa.create_engine("sqlite://")
SYNC_SESSIONS = sessionmaker(SYNC_ENGINE)

# Type checkers would reject each of these calls.
Untyped = Callable[..., Any]
backend: Untyped = SQLAlchemyBackend
unit_of_work: Untyped = SQLAlchemyUnitOfWork
signal: Untyped = PostgresQueueSignal
configure: Untyped = configure_sqlite
repository: Untyped = SQLAlchemyRepository
mapper: Untyped = ModelMapper
mediator: Untyped = Mediator
ADAPTERS: list[Untyped] = [
    SQLAlchemyUnitOfWork,
    SQLAlchemyEventStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    lambda session_factory: repository(Shelf, ShelfModel, session_factory),
]

ENGINE_NEEDED = "pass an object of AsyncEngine, such as create_async_engine(url)"

MISTAKES: Mistakes = {
    "backend: sync engine": (
        lambda: backend(SYNC_ENGINE),
        "a backend takes the URL of a database or an AsyncEngine, not an object of <class "
        "'sqlalchemy.engine.base.Engine'>; create the engine by create_async_engine",
    ),
    "backend: session factory": (
        lambda: backend(SESSIONS),
        "a backend takes the URL of a database or an AsyncEngine, not an object of <class "
        "'sqlalchemy.ext.asyncio.session.async_sessionmaker'>; pass the engine of the sessions",
    ),
    "backend: sync URL": (
        lambda: backend("postgresql+psycopg2://host/shop"),
        "postgresql+psycopg2:// names no supported async driver; begin the URL with "
        "postgresql+asyncpg://",
    ),
    "backend: metadata": (
        lambda: backend(ENGINE, tables=metadata),
        "tables is an object of MetaData; pass an object of Tables",
    ),
    "session: factory": (
        lambda: unit_of_work(SESSIONS),
        "session= is an object of <class 'sqlalchemy.ext.asyncio.session.async_sessionmaker'>, not "
        "an AsyncSession; pass it as session_factory=",
    ),
    "session: engine": (
        lambda: unit_of_work(ENGINE),
        "session= is an object of <class 'sqlalchemy.ext.asyncio.engine.AsyncEngine'>, not an "
        "AsyncSession; pass session_factory=async_sessionmaker(engine)",
    ),
    "session: sync": (lambda: unit_of_work(Session()), "session= is an object of <class 'sqlalc"),
    "session: class": (lambda: unit_of_work(AsyncSession), "session= is <class 'sqlalchemy.ext"),
    "unit of work: class": (
        lambda: mediator(HandlerRegistry(), uow_factory=SQLAlchemyUnitOfWork),
        "uow_factory is called without arguments, which SQLAlchemyUnitOfWork does not accept: "
        "SQLAlchemyUnitOfWork takes either a session or a session_factory; ",
    ),
    "signal: session factory": (
        lambda: signal(SESSIONS),
        f"engine is an object of async_sessionmaker; {ENGINE_NEEDED}",
    ),
    "SQLite: sync engine": (
        lambda: configure(SYNC_ENGINE),
        f"engine is an object of Engine; {ENGINE_NEEDED}",
    ),
    "repository: aggregate": (
        lambda: repository(Shelf(id="s-1"), ShelfModel),
        "entity_type is an object of Shelf; pass a subclass of AggregateRoot",
    ),
    "repository: swapped classes": (
        lambda: repository(ShelfModel, Shelf),
        "entity_type is the class ShelfModel; pass a subclass of AggregateRoot",
    ),
    "mapper: table": (
        lambda: mapper(Shelf, Shelf),
        f"{Shelf!r} is not mapped by SQLAlchemy; pass a declarative class",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_constructor_argument_of_another_kind_is_a_config_error(mistake: str) -> None:
    ensure_config_error(*MISTAKES[mistake])


@pytest.mark.parametrize("create", ADAPTERS)
@pytest.mark.parametrize("given", [SESSIONS(), ENGINE, SYNC_SESSIONS, SYNC_ENGINE, "sqlite://"])
def test_adapter_takes_a_factory_of_async_sessions_only(create: Untyped, given: object) -> None:
    with pytest.raises(ConfigError, match=r"session_factory= is .*, not an async_sessionm"):
        create(session_factory=given)


@pytest.mark.parametrize("engine", [SYNC_ENGINE, SESSIONS])
async def test_schema_is_created_on_an_async_engine_only(engine: Any) -> None:
    with pytest.raises(ConfigError, match=r"engine is an object of .*; pass an object of AsyncEng"):
        await create_schema(engine)
