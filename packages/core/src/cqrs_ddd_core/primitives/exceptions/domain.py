"""Errors of the domain: the request is understood, and a rule forbids it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import pydantic

from .base import CQRSDDDError, ErrorClass


class DomainError(CQRSDDDError):
    """The request was understood and a rule of the domain forbids it; a retry does not help."""

    error_class = ErrorClass.BUSINESS


class InvariantViolationError(DomainError):
    """The change would break a rule that must hold for an aggregate at all times."""


class CycleDetectedError(InvariantViolationError):
    """A node would become its own ancestor; ``path`` leads from it, upwards, back to it."""

    def __init__(self, message: str = "", *, path: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)

    @classmethod
    def would_close(cls, path: Sequence[object]) -> CycleDetectedError:
        """Build the error for a node, the first of ``path``, below its new parent, the second."""
        return cls(
            f"{path[0]} cannot be placed under {path[1]}, since that makes a cycle: "
            f"{' -> '.join(map(str, path))}; choose another parent",
            path=path,
        )


class ACLWideningError(InvariantViolationError):
    """An access list grants more than its ancestors; ``excess`` holds the additional grants."""

    def __init__(
        self, message: str = "", *, node_id: object = None, excess: Sequence[object] = ()
    ) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.excess = tuple(excess)


class BusinessRuleError(DomainError):
    """A rule of the business forbids the command now."""


class ValidationError(DomainError):
    """The input is not valid; ``errors`` maps a field (dotted path) to its problems."""

    def __init__(
        self, message: str = "", *, errors: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__(message)
        self.errors = {field: tuple(texts) for field, texts in (errors or {}).items()}

    @classmethod
    def from_pydantic(cls, message: str, error: pydantic.ValidationError) -> ValidationError:
        """Build the error from the findings of pydantic, grouped by field."""
        errors: dict[str, list[str]] = {}
        for finding in error.errors(include_url=False, include_input=False):
            errors.setdefault(".".join(map(str, finding["loc"])), []).append(finding["msg"])
        return ValidationError(f"{message}: {', '.join(errors)}", errors=errors)

    @classmethod
    def not_orderable(cls, path: str, problem: str) -> ValidationError:
        """Build the error for an ordering by an attribute without an order."""
        return ValidationError(problem, errors={path: ("has no order",)})


class NaiveDatetimeError(ValidationError):
    """A date and time without a time zone, so machines in two zones read it differently."""

    def __init__(
        self, message: str = "", *, field: str = "", value: datetime | None = None
    ) -> None:
        super().__init__(message, errors={field: (message,)} if field else None)
        self.field = field
        self.value = value

    @classmethod
    def without_zone(cls, owner: str, value: datetime, *, field: str = "") -> NaiveDatetimeError:
        """Build the error for a ``value`` that ``owner`` was given."""
        return cls(
            f"{owner} is {value.isoformat()}, which has no time zone; pass an aware datetime, for "
            "example datetime.now(timezone.utc)",
            field=field,
            value=value,
        )


class NotFoundError(DomainError):
    """The requested object does not exist."""


class EntityNotFoundError(NotFoundError):
    """No entity of this type has this id."""

    def __init__(
        self, message: str = "", *, entity_type: str = "", entity_id: object = None
    ) -> None:
        super().__init__(message)
        self.entity_type = entity_type
        self.entity_id = entity_id


class NodeNotFoundError(NotFoundError):
    """A node of a hierarchy is missing: the requested one, or one of its ancestors."""

    def __init__(self, message: str = "", *, node_id: object = None) -> None:
        super().__init__(message)
        self.node_id = node_id


class ImmutableObjectError(DomainError):
    """A message, an event or a value object cannot be changed."""

    def __init__(self, message: str = "", *, type_name: str = "", field: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.field = field

    @classmethod
    def unchangeable(cls, type_name: str, field: str) -> ImmutableObjectError:
        """Build the error for an attempt to set or delete a field."""
        return cls(
            f"{type_name}.{field} cannot be changed; make a new one, for example with "
            f"model_copy(update={{{field!r}: ...}})",
            type_name=type_name,
            field=field,
        )


class MissingIdentityError(DomainError):
    """An aggregate has no id, or an event does not name its aggregate."""

    def __init__(
        self, message: str = "", *, type_name: str = "", missing: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.missing = tuple(missing)


class EventApplicationError(DomainError):
    """An event could not be applied to an aggregate; ``field`` names the field at fault, if any."""

    def __init__(
        self,
        message: str = "",
        *,
        aggregate_type: str = "",
        event_type: str = "",
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.aggregate_type = aggregate_type
        self.event_type = event_type
        self.field = field


class HierarchyLimitExceededError(DomainError):
    """A node has more ancestors than a service may read; there is no partial answer."""

    def __init__(
        self,
        message: str = "",
        *,
        node_id: object = None,
        limit: str = "",
        allowed: int | None = None,
    ) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.limit = limit
        self.allowed = allowed


class CorruptHierarchyError(DomainError):
    """Stored links form a cycle; ``path`` leads from a node, upwards, back to it."""

    def __init__(self, message: str = "", *, path: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)

    @classmethod
    def stored_cycle(cls, path: Sequence[object]) -> CorruptHierarchyError:
        """Build the error for a cycle in the stored links."""
        return cls(
            f"the stored links form a cycle: {' -> '.join(map(str, path))}; remove one of them",
            path=path,
        )
