"""Several reads of the same committed state; the only module that contains SQL."""

from __future__ import annotations

from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork

_FIRST = {
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    # Without BEGIN each statement reads the newest committed state.
    "sqlite": "BEGIN",
}


async def repeatable_read(uow: UnitOfWork) -> None:
    """Make all reads in ``uow`` see the same committed state; call it before the first read.

    It has no effect on the fakes.
    """
    if isinstance(uow, SQLAlchemyUnitOfWork):
        connection = await uow.connection()
        await connection.exec_driver_sql(_FIRST[connection.dialect.name])
