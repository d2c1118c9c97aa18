"""Connections, transactions and errors of PostgreSQL and SQLite."""

from sqlalchemy.ext.asyncio import AsyncConnection as AsyncConnection

from .connections import Connections
from .driver import fetch, is_postgres, upsert_statement
from .engines import SessionFactory
from .transaction import SQLAlchemyTransaction

__all__ = [
    "Connections",
    "SQLAlchemyTransaction",
    "SessionFactory",
    "fetch",
    "is_postgres",
    "upsert_statement",
]
