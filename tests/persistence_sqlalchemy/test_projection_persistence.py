"""Tests of the query roles over documents, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyProjectionDualPersistence
from tests.advanced.projection_roles_kit import OrderSummaryDTO, ProjectionRolesKit


class SQLAlchemyOrderSummaries(SQLAlchemyProjectionDualPersistence[OrderSummaryDTO, str]):
    collection = "order_summaries"

    def to_dto(self, doc: dict[str, Any]) -> OrderSummaryDTO:
        return OrderSummaryDTO(**doc)


class TestProjectionBackedRoles(ProjectionRolesKit):
    pass


class TestSQLAlchemyProjectionRoles(ProjectionRolesKit):
    roles = SQLAlchemyOrderSummaries
