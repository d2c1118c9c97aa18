"""Repository compared with the repository of another library, on the same table."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from advanced_alchemy.repository import (  # type: ignore[import-not-found]
    SQLAlchemyAsyncRepository,
)

from .databases import Databases
from .measuring import Row
from .repositories import ALL, OrderRow, Place, list_aggregates, open_rows


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; the peer returns ORM rows, our side validated aggregates."""
    return [
        Row(
            f"{name}: list_all of {ALL:,} aggregates",
            "advanced-alchemy: list",
            open_rows(databases, dialect, list_aggregates, stored=ALL),
            open_rows(databases, dialect, list_orm_rows, stored=ALL),
            1.0,
            items=ALL,
            rounds=15,
        )
        for dialect, name in (("postgresql", "PostgreSQL"), ("sqlite", "SQLite"))
    ]


class Orders(SQLAlchemyAsyncRepository[OrderRow]):  # type: ignore[misc]
    model_type = OrderRow


def list_orm_rows(place: Place) -> Callable[[], Awaitable[float]]:
    async def list_all() -> float:
        started = time.perf_counter()
        async with place.sessions() as session:
            assert len(await Orders(session=session).list()) == ALL
        return time.perf_counter() - started

    return list_all
