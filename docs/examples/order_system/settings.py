"""Settings of the program and of the service, from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy.engine import URL

from cqrs_ddd_core import EnvConfig

from .tables import Style

Seconds = Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)]


@dataclass(frozen=True)
class Settings(EnvConfig):
    """Settings, read from the environment variables with the same names in capital letters."""

    database_url: str = ""
    backend: Literal["database", "memory"] = "database"
    style: Style = "state"
    busy_seconds: Seconds = 5.0
    """Time that a writer waits for another writer on SQLite."""
    command_seconds: Seconds = 10.0
    """Time limit of a command."""
    lease_seconds: Seconds = 8.0
    """Time until another run can take over the messages and events of a killed run."""
    services: bool = True
    """False to leave the relay and the worker of a web process to another process."""

    @classmethod
    def for_file(cls, path: Path) -> Settings:
        """Return settings with a database named after the file, unless DATABASE_URL is set."""
        settings = cls.from_env()
        if "DATABASE_URL" in os.environ:
            return settings
        ending = "db" if settings.style == "state" else "events.db"
        url = URL.create("sqlite+aiosqlite", database=f"{path.stem}.{ending}")
        return replace(settings, database_url=url.render_as_string())
