"""How an adapter finds the transaction that it works in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.ports.unit_of_work import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..unit_of_work import SQLAlchemyUnitOfWork
from .driver import autocommitting
from .engines import SessionFactory, engine_of, refuse_unusable


@asynccontextmanager
async def joined(
    uow: UnitOfWork | None, session_factory: SessionFactory | None, operation: str
) -> AsyncIterator[SQLAlchemyUnitOfWork]:
    """Take part in ``uow``, else in the open one, else in a short one of its own."""
    current = uow or get_current_uow()
    if current is None:
        async with SQLAlchemyUnitOfWork(session_factory=session_factory) as own:
            yield own
        return
    if not isinstance(current, SQLAlchemyUnitOfWork):
        raise InvalidOperationError(
            f"{operation} happens in a database and cannot join a {type(current).__name__}; "
            "use a SQLAlchemyUnitOfWork"
        )
    _refuse_another_database(current, session_factory, operation)
    with current.guard_exclusive(operation):
        try:
            yield current
        except (asyncio.CancelledError, GeneratorExit):
            current.mark_interrupted()
            raise


@asynccontextmanager
async def reading(
    uow: UnitOfWork | None, session_factory: SessionFactory | None, operation: str
) -> AsyncIterator[AsyncConnection]:
    """The connection of ``uow``, else of the open one, else one without a transaction."""
    engine = engine_of(session_factory) if session_factory is not None else None
    if engine is not None and uow is None and get_current_uow() is None:
        refuse_unusable(engine)
        async with autocommitting(engine) as connection:
            yield connection
        return
    async with joined(uow, session_factory, operation) as current:
        yield await current.connection()


@asynccontextmanager
async def apart(session_factory: SessionFactory) -> AsyncIterator[AsyncConnection]:
    """In a short transaction of its own, whichever unit of work is open."""
    async with SQLAlchemyUnitOfWork(session_factory=session_factory) as own:
        yield await own.connection()


@asynccontextmanager
async def reading_apart(session_factory: SessionFactory) -> AsyncIterator[AsyncConnection]:
    """What is committed, whichever unit of work is open; without a transaction where it can be."""
    engine = engine_of(session_factory)
    if engine is None:
        async with apart(session_factory) as connection:
            yield connection
        return
    refuse_unusable(engine)
    async with autocommitting(engine) as connection:
        yield connection


def _refuse_another_database(
    current: SQLAlchemyUnitOfWork, session_factory: SessionFactory | None, operation: str
) -> None:
    mine = engine_of(session_factory) if session_factory is not None else None
    if mine is not None and current.engine is not None and mine is not current.engine:
        raise InvalidOperationError(
            f"cannot {operation}: the unit of work is on {current.engine.url!r}, this adapter on "
            f"{mine.url!r}; pass a unit of work on the same engine"
        )
