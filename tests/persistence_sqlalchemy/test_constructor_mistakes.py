"""Wrong arguments of constructors are reported with the argument and the next step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from cqrs_ddd_core import ConfigError
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    SQLAlchemyRepository,
    SQLAlchemyUnitOfWork,
    configure_sqlite,
)
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
    SQLAlchemySnapshotStore,
)
from tests.persistence_sqlalchemy.parcels import parcel_model

ENGINE = configure_sqlite(create_async_engine("sqlite+aiosqlite:///unused.db"))


@pytest.mark.parametrize(
    ("session", "advice"),
    [
        (async_sessionmaker(ENGINE), "pass it as session_factory="),
        (ENGINE, r"pass session_factory=async_sessionmaker\(engine\)"),
        (Session(), "pass an AsyncSession"),
        (AsyncSession, "pass an AsyncSession"),
        ("session", "pass an AsyncSession"),
    ],
)
def test_unit_of_work_rejects_another_object_as_its_session(session: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=f"session= is .*, not an AsyncSession; {advice}"):
        SQLAlchemyUnitOfWork(session)


@pytest.mark.parametrize(
    "make",
    [
        lambda given: SQLAlchemyUnitOfWork(session_factory=given),
        lambda given: SQLAlchemyRepository[Parcel, str](Parcel, parcel_model(None), given),
        SQLAlchemyEventStore,
        SQLAlchemyOutboxStorage,
        SQLAlchemyInbox,
        SQLAlchemyProjectionStore,
        SQLAlchemyPositionStore,
        SQLAlchemyDeadLetterStore,
        SQLAlchemySnapshotStore,
    ],
)
@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (ENGINE, r"pass async_sessionmaker\(engine\)"),
        (create_engine("sqlite://"), r"pass async_sessionmaker\(engine\)"),
        (AsyncSession(), "pass the factory that has created the session"),
    ],
)
def test_adapter_rejects_another_object_as_its_session_factory(
    make: Callable[[Any], object], given: Any, advice: str
) -> None:
    with pytest.raises(ConfigError, match=f"session_factory= is .*async_sessionmaker; {advice}"):
        make(given)
