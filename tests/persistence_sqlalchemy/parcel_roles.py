"""Handlers of the parcels of the dispatcher contract, over their table."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from sqlalchemy import GenerativeSelect, Row, select

from cqrs_ddd_advanced_core.persistence import PersistenceRegistry
from cqrs_ddd_advanced_core.testing.contracts.parcel_registry import (
    ParcelLabel,
    ParcelSummary,
    parcel_registry,
    visible_owner,
)
from cqrs_ddd_core import ISpecification
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyOperationPersistence,
    SQLAlchemyQueryPersistence,
    SQLAlchemyQuerySpecificationPersistence,
    SQLAlchemyRetrievalPersistence,
)
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_specifications import AttributeSpecification
from tests.persistence_sqlalchemy.parcels import parcel_model


class VisibleParcels(SQLAlchemyRepository[Parcel, str]):
    def row_scope(self) -> ISpecification[Parcel] | None:
        return owner_condition()


def owner_condition() -> ISpecification[Any] | None:
    owner = visible_owner()
    return None if owner is None else AttributeSpecification("owner", "=", owner)


def parcel_roles(schema: str | None) -> PersistenceRegistry:
    parcels: Any = parcel_model(schema)

    class ParcelPersistence(
        SQLAlchemyOperationPersistence[Parcel, str], SQLAlchemyRetrievalPersistence[Parcel, str]
    ):
        entity_type = Parcel
        model = parcels

        @cached_property
        def repository(self) -> SQLAlchemyRepository[Parcel, str]:
            return VisibleParcels(self.entity_type, self.model)

    class SummaryQuery(SQLAlchemyQueryPersistence[ParcelSummary, str]):
        model = parcels

        def row_scope(self) -> ISpecification[Any] | None:
            return owner_condition()

        def to_dto(self, row: Row[Any]) -> ParcelSummary:
            return ParcelSummary(id=row.id, owner=row.owner, grams=row.grams)

    class SummarySearch(SQLAlchemyQuerySpecificationPersistence[ParcelSummary]):
        model = parcels

        def row_scope(self) -> ISpecification[Any] | None:
            return owner_condition()

        def to_dto(self, row: Row[Any]) -> ParcelSummary:
            return ParcelSummary(id=row.id, owner=row.owner, grams=row.grams)

    class LabelQuery(SQLAlchemyQueryPersistence[ParcelLabel, str]):
        model = parcels

        def statement(self) -> GenerativeSelect:
            return select(
                parcels.owner.label("name"),
                parcels.grams.label("grams"),
                parcels.id.label("number"),
            )

        def row_scope(self) -> ISpecification[Any] | None:
            return owner_condition()

        def to_dto(self, row: Row[Any]) -> ParcelLabel:
            return ParcelLabel(row.number, f"{row.name}: {row.grams}")

    return parcel_registry(
        operation=ParcelPersistence,
        retrieval=ParcelPersistence,
        query=SummaryQuery,
        query_spec=SummarySearch,
        labels=LabelQuery,
    )
