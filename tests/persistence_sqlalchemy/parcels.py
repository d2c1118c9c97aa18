"""Repository of the aggregate of the contracts, in a table of its own."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_persistence_sqlalchemy.engine.engines import SessionFactory
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository


@lru_cache
def parcel_model(schema: str | None) -> Any:
    class Base(DeclarativeBase):
        metadata = MetaData(schema=schema)

    class ParcelModel(VersionMixin, Base):
        __tablename__ = "parcels"

        id: Mapped[str] = mapped_column(Text, primary_key=True)
        owner: Mapped[str] = mapped_column(Text)
        grams: Mapped[int | None] = mapped_column(BigInteger)
        note: Mapped[str | None] = mapped_column(Text)

    return ParcelModel


class Parcels(SQLAlchemyRepository[Parcel, str]):
    def __init__(self, session_factory: SessionFactory, schema: str | None) -> None:
        model = parcel_model(schema)
        super().__init__(Parcel, model, session_factory)
        self.metadata: MetaData = model.metadata
