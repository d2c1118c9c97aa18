"""Backend on a database, with checks of its URL and tables."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cqrs_ddd_core import ConfigError
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend, schema

from . import tables
from .settings import Settings


class OrderDatabase(SQLAlchemyBackend):
    """Backend whose tables depend on how orders are stored.

    Raises ``ConfigError`` for a URL that cannot be used.
    """

    def __init__(self, settings: Settings, *, read_only: bool) -> None:
        try:
            super().__init__(_add_timeout(settings), create_schema=not read_only)
        except ConfigError as error:
            raise ConfigError(f"DATABASE_URL is not usable: {error}") from error
        _ensure_path_exists(self.engine.url, read_only=read_only)
        self._style = settings.style

    async def create_schema(self) -> None:
        """Create the missing tables, and check the others."""
        with suppress(ConfigError):
            await schema.check(self.engine)
        await self._run(lambda connection: tables.install(connection, self._style))

    async def check_schema(self) -> None:
        """Check the tables."""
        await schema.check(self.engine)
        await self._run(lambda connection: tables.check(connection, self._style))

    async def _run(self, step: Callable[[Connection], None]) -> None:
        try:
            async with self.engine.begin() as connection:
                await connection.run_sync(step)
        except SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"cannot use the database {self.engine.url!r}: {reason}") from error


def _add_timeout(settings: Settings) -> str | URL:
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        return settings.database_url  # The backend rejects it.
    if url.get_backend_name() == "sqlite":
        return url.update_query_dict({"timeout": str(settings.busy_seconds)})
    return url


def _ensure_path_exists(url: URL, *, read_only: bool) -> None:
    if url.get_backend_name() != "sqlite" or not url.database or "uri" in url.query:
        return
    path = Path(url.database)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for the database {path}")
    if read_only and not path.exists():
        raise ConfigError(f"there is no database {path}; import the file first")
