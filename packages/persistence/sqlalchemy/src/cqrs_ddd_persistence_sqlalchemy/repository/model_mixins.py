"""Mixins for declarative models, with the columns of core's mixins for aggregates."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ..schema.column_types import UtcDateTime


class VersionMixin:
    """Column of the stored version, by which a repository detects conflicts.

    A row that is inserted without a repository has version 1, the version of a first save.

    Example:
        ```python
        from sqlalchemy import Text
        from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

        from cqrs_ddd_persistence_sqlalchemy import VersionMixin

        class Base(DeclarativeBase):
            pass

        class NoteModel(VersionMixin, Base):
            __tablename__ = "notes"

            id: Mapped[str] = mapped_column(Text, primary_key=True)
            text: Mapped[str] = mapped_column(Text)
        ```
    """

    version: Mapped[int] = mapped_column(sa.BigInteger, default=1, server_default="1")


class AuditableModelMixin:
    """Columns of ``AuditableMixin``: user and time of the creation and the last change."""

    created_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_by: Mapped[str | None] = mapped_column(sa.Text)
    updated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    updated_by: Mapped[str | None] = mapped_column(sa.Text)


class ArchivableModelMixin:
    """Columns of ``ArchivableMixin``: user and time of the archiving."""

    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    archived_by: Mapped[str | None] = mapped_column(sa.Text)


def unique_unless_archived(name: str, *columns: str) -> sa.Index:
    """Return a unique index for ``__table_args__`` that ignores archived rows.

    Args:
        name: name of the index.
        columns: names of the columns.
    """
    is_kept = sa.text("archived_at IS NULL")
    return sa.Index(name, *columns, unique=True, postgresql_where=is_kept, sqlite_where=is_kept)
