"""Columns that many models share; each mixin fits the mixin of core with the same fields."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ..schema.column_types import UtcDateTime


class VersionMixin:
    """Which version is stored; a repository needs it to refuse a stale one."""

    version: Mapped[int] = mapped_column(sa.BigInteger)


class AuditableModelMixin:
    """Who created and last changed it, and when: for ``AuditableMixin``."""

    created_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_by: Mapped[str | None] = mapped_column(sa.Text)
    updated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    updated_by: Mapped[str | None] = mapped_column(sa.Text)


class ArchivableModelMixin:
    """Put away instead of deleted: for ``ArchivableMixin``."""

    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    archived_by: Mapped[str | None] = mapped_column(sa.Text)


def unique_unless_archived(name: str, *columns: str) -> sa.Index:
    """An index for ``__table_args__``: no two rows alike, those that are archived left out."""
    is_kept = sa.text("archived_at IS NULL")
    return sa.Index(name, *columns, unique=True, postgresql_where=is_kept, sqlite_where=is_kept)
