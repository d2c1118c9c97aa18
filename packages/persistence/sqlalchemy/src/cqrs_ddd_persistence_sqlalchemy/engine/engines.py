"""Engines of session factories, and a check that the toolkit supports an engine."""

from __future__ import annotations

from weakref import WeakSet

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

from cqrs_ddd_core import ConfigError

from .driver import is_postgres
from .sqlite import is_configured

SessionFactory = async_sessionmaker[AsyncSession]
"""Type of the session factory of an application: ``async_sessionmaker(engine)``."""

_checked: WeakSet[AsyncEngine] = WeakSet()


def find_engine(session_factory: SessionFactory) -> AsyncEngine | None:
    """Return the engine of the sessions, or None if they have a connection or several engines."""
    bind = session_factory.kw.get("bind")
    return bind if isinstance(bind, AsyncEngine) else None


def get_bind(session: AsyncSession) -> AsyncEngine | AsyncConnection | None:
    """Return the engine or connection of the session, or None if it has none for all tables."""
    # In SQLAlchemy 2.0 a session without a bind lacks the attribute.
    return getattr(session, "bind", None)


def ensure_usable(engine: AsyncEngine) -> None:
    """Raise ``ConfigError`` for an engine on which the toolkit cannot keep its guarantees."""
    if engine in _checked:
        return
    if engine.dialect.driver not in ("asyncpg", "aiosqlite"):
        raise ConfigError(
            f"{engine.dialect.name}+{engine.dialect.driver} is not supported; use "
            "postgresql+asyncpg or sqlite+aiosqlite"
        )
    if "schema_translate_map" in engine.sync_engine.get_execution_options():
        raise ConfigError(
            "an engine with a schema_translate_map is not supported; use Tables(schema=...)"
        )
    if not is_postgres(engine) and not is_configured(engine):
        raise ConfigError("call configure_sqlite(engine) before the first connection of the engine")
    _checked.add(engine)
