"""Several reads that see one state; all of this that knows SQL."""

from __future__ import annotations

from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork

_FIRST = {
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    # Without a BEGIN each statement reads for itself.
    "sqlite": "BEGIN",
}


async def repeatable_read(uow: UnitOfWork) -> None:
    """All further reads in ``uow`` see one state; to be called before the first of them.

    Fakes go on reading what is committed.
    """
    if isinstance(uow, SQLAlchemyUnitOfWork):
        connection = await uow.connection()
        await connection.exec_driver_sql(_FIRST[connection.dialect.name])
