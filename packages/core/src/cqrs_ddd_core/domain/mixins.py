"""Fields that many aggregates share: ``class Order(AuditableMixin, AggregateRoot[str])``.

``SpatialMixin`` is in ``domain.spatial``, since it needs the ``geometry`` extra.
"""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel

from ..context import get_user_id
from ..primitives.exceptions import InvariantViolationError


class AuditableMixin(BaseModel):
    """Times and users of the creation and of the last change.

    Attributes:
        created_at: time of the first ``touch`` (aware).
        created_by: id of the user at that time.
        updated_at: time of the last ``touch`` (aware).
        updated_by: id of the user at that time.
    """

    created_at: AwareDatetime | None = None
    created_by: str | None = None
    updated_at: AwareDatetime | None = None
    updated_by: str | None = None

    def touch(self, at: datetime, by: str | None = None) -> None:
        """Record a change; the first one is also the creation.

        Args:
            at: time of the change (aware).
            by: id of the user, by default the user of the running request.
        """
        user = by if by is not None else get_user_id()
        if self.created_at is None:
            self.created_at, self.created_by = at, user
        self.updated_at, self.updated_by = at, user


class ArchivableMixin(BaseModel):
    """Time and user of archiving, for aggregates that are archived instead of deleted.

    Attributes:
        archived_at: time of archiving (aware), or None.
        archived_by: id of the user at that time.
    """

    archived_at: AwareDatetime | None = None
    archived_by: str | None = None

    @property
    def is_archived(self) -> bool:
        """Return whether the aggregate is archived."""
        return self.archived_at is not None

    def archive(self, at: datetime, by: str | None = None) -> None:
        """Archive the aggregate.

        Args:
            at: time of archiving (aware).
            by: id of the user, by default the user of the running request.

        Raises:
            InvariantViolationError: the aggregate is already archived.
        """
        if self.archived_at is not None:
            raise InvariantViolationError(
                f"{type(self).__name__} was archived at {self.archived_at.isoformat()}; "
                "restore it first"
            )
        self.archived_at = at
        self.archived_by = by if by is not None else get_user_id()

    def restore(self) -> None:
        """Undo ``archive``.

        Raises:
            InvariantViolationError: the aggregate is not archived.
        """
        if self.archived_at is None:
            raise InvariantViolationError(
                f"{type(self).__name__} is not archived; nothing to restore"
            )
        self.archived_at = None
        self.archived_by = None
