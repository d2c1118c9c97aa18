"""The repository beside another one, on the same table."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from advanced_alchemy.repository import (  # type: ignore[import-not-found]
    SQLAlchemyAsyncRepository,
)

from .databases import Databases
from .measuring import Row
from .repositories import ALL, OrderRow, Place, listing, side


def rows(databases: Databases) -> list[Row]:
    """The peer hands out rows of the ORM, ours aggregates that were validated."""
    return [
        Row(
            f"{name}: list_all of {ALL:,} aggregates",
            "advanced-alchemy: list",
            side(databases, dialect, listing, stored=ALL),
            side(databases, dialect, listing_rows, stored=ALL),
            1.0,
            items=ALL,
            rounds=15,
        )
        for dialect, name in (("postgresql", "PostgreSQL"), ("sqlite", "SQLite"))
    ]


class Orders(SQLAlchemyAsyncRepository[OrderRow]):  # type: ignore[misc]
    model_type = OrderRow


def listing_rows(place: Place) -> Callable[[], Awaitable[float]]:
    async def list_all() -> float:
        started = time.perf_counter()
        async with place.sessions() as session:
            assert len(await Orders(session=session).list()) == ALL
        return time.perf_counter() - started

    return list_all
