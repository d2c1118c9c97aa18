"""Database fixtures of the adapter tests."""

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
