"""Fields that many aggregates share: ``class Order(AuditableMixin, AggregateRoot[str])``.

``SpatialMixin`` is in ``domain.spatial``, since it needs the ``geometry`` extra.
"""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel

from ..context import get_user_id
from ..primitives.exceptions import InvariantViolationError


class AuditableMixin(BaseModel):
    """Who created and last changed it, and when (aware date and time)."""

    created_at: AwareDatetime | None = None
    created_by: str | None = None
    updated_at: AwareDatetime | None = None
    updated_by: str | None = None

    def touch(self, at: datetime, by: str | None = None) -> None:
        """Note a change; the first one is the creation. ``by`` defaults to the request's user."""
        who = by if by is not None else get_user_id()
        if self.created_at is None:
            self.created_at, self.created_by = at, who
        self.updated_at, self.updated_by = at, who


class ArchivableMixin(BaseModel):
    """Put away instead of deleted."""

    archived_at: AwareDatetime | None = None
    archived_by: str | None = None

    @property
    def is_archived(self) -> bool:
        return self.archived_at is not None

    def archive(self, at: datetime, by: str | None = None) -> None:
        """Raises ``InvariantViolationError`` when it is archived already."""
        if self.archived_at is not None:
            raise InvariantViolationError(
                f"{type(self).__name__} is archived since {self.archived_at.isoformat()}; "
                "restore it first"
            )
        self.archived_at = at
        self.archived_by = by if by is not None else get_user_id()

    def restore(self) -> None:
        """Raises ``InvariantViolationError`` when it is not archived."""
        if self.archived_at is None:
            raise InvariantViolationError(
                f"{type(self).__name__} is not archived; nothing to restore"
            )
        self.archived_at = None
        self.archived_by = None
