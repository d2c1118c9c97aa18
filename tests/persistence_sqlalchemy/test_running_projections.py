"""Projections on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
)
from tests.advanced.projection_kit import (
    InlineProjectionKit,
    ProjectionRebuildKit,
    ProjectionWorkerKit,
    Surrounded,
)
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory


@pytest.fixture
def engine(forgetful_engine: AsyncEngine) -> AsyncEngine:
    return forgetful_engine


@pytest.fixture
def surrounded(
    session_factory: SessionFactory, tables: Tables, new_uow: NewUnitOfWork
) -> Surrounded:
    return Surrounded(
        SQLAlchemyEventStore(session_factory, tables=tables),
        SQLAlchemyProjectionStore(session_factory, tables=tables),
        SQLAlchemyPositionStore(session_factory, tables=tables),
        SQLAlchemyDeadLetterStore(session_factory, tables=tables),
        new_uow,
    )


class TestProjectionWorker(ProjectionWorkerKit):
    pass


class TestProjectionRebuild(ProjectionRebuildKit):
    pass


class TestInlineProjection(InlineProjectionKit):
    pass
