"""Empty databases on the PostgreSQL of the tests, for programs that are given a URL."""

from __future__ import annotations

import asyncio
from itertools import count
from os import getpid

import asyncpg

_numbers = count(1)


def new_database(postgres_url: str, *settings: str) -> str:
    """The URL of a new one; a setting is what ``ALTER DATABASE ... SET`` takes."""
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


async def _execute(postgres_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
