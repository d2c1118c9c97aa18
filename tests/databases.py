"""Empty databases on the servers of the tests, for programs that are given a URL."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from os import getpid

import asyncpg

from tests.services import Product, Redis

_numbers = count(1)


def new_database(postgres_url: str, *settings: str) -> str:
    """Create a database with settings of ``ALTER DATABASE ... SET`` and return its URL."""
    name = f"fresh_{getpid()}_{next(_numbers)}"
    asyncio.run(
        _execute(
            postgres_url,
            f"DROP DATABASE IF EXISTS {name}",
            f"CREATE DATABASE {name}",
            *(f"ALTER DATABASE {name} SET {setting}" for setting in settings),
        )
    )
    address, _, _ = postgres_url.rpartition("/")
    return f"postgresql+asyncpg{address[address.index('://') :]}/{name}"


@contextmanager
def database_of_worker(product: Product, url: str, worker: int) -> Iterator[str]:
    """Yield the URL of a database that no other worker uses, on a server that all of them share."""
    address, _, database = url.rpartition("/")
    if isinstance(product, Redis):
        yield f"{address}/{int(database or 0) + worker}"
        return
    name = f"worker_{getpid()}"
    server = re.sub(r"^(postgres\w*)\+\w+:", r"\1:", url)
    asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
    try:
        yield f"{address}/{name}"
    finally:
        asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(postgres_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
