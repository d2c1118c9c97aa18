"""Fixtures of the adapter tests, and a proxy in front of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import Proxy
from tests.persistence_sqlalchemy.conftest import (
    backend,
    database_url,
    engine,
    new_engine,
    new_uow,
    session_factory,
    tables,
)

__all__ = [
    "backend",
    "database_url",
    "engine",
    "new_engine",
    "new_uow",
    "session_factory",
    "tables",
]


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(database_url).run() as proxy:
        yield proxy
