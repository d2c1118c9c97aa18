"""Small aggregate in a table of its own, for tests of connections."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_persistence_sqlalchemy import VersionMixin


class Base(DeclarativeBase):
    pass


class Crate(AggregateRoot[str]):
    place: str


class CrateModel(VersionMixin, Base):
    __tablename__ = "crates"

    id: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[str]
