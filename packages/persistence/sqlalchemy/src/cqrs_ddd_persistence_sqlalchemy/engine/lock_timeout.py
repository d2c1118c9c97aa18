"""How long a statement of PostgreSQL waits for others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core import ConcurrencyError

from .driver import is_postgres
from .driver_errors import sqlstate

_LOCK_NOT_AVAILABLE = "55P03"
_BEFORE = sa.text("SELECT current_setting('lock_timeout')")
_SET = sa.text("SELECT set_config('lock_timeout', :value, true)")


@asynccontextmanager
async def lock_timeout(
    seconds: float, connection: AsyncConnection, operation: str
) -> AsyncIterator[None]:
    """Whoever waits for a lock lets others wait behind, so not for long: ``ConcurrencyError``."""
    if not is_postgres(connection):
        yield
        return
    before = await connection.scalar(_BEFORE)
    await connection.execute(_SET, {"value": f"{round(1000 * seconds)}ms"})
    try:
        yield
    except sa.exc.DBAPIError as error:
        if sqlstate(error) != _LOCK_NOT_AVAILABLE:
            raise
        raise ConcurrencyError(
            f"cannot {operation}: others use it for longer than {seconds} s; try it again"
        ) from error
    await connection.execute(_SET, {"value": before})
