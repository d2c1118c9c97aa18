"""Errors of the domain: the request is understood, and a rule forbids it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches

import pydantic

from .base import CQRSDDDError, ErrorClass


class DomainError(CQRSDDDError):
    """The request is understood, and a rule of the domain forbids it; a retry does not help."""

    error_class = ErrorClass.BUSINESS


class InvariantViolationError(DomainError):
    """The change would break a rule that must hold for an aggregate at all times."""


class CycleDetectedError(InvariantViolationError):
    """A node would become its own ancestor.

    Attributes:
        path: node ids from the node, upwards, back to the node.
    """

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
    """An access list grants more than its ancestors.

    Attributes:
        node_id: id of the node with the list.
        excess: grants that the ancestors do not have.
    """

    def __init__(
        self, message: str = "", *, node_id: object = None, excess: Sequence[object] = ()
    ) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.excess = tuple(excess)


class BusinessRuleError(DomainError):
    """A rule of the business forbids the command now."""


class ValidationError(DomainError):
    """The input is not valid.

    Attributes:
        errors: problems by field (dotted path; empty for the whole object).
    """

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
    """A date and time has no time zone, so machines in two zones read it differently.

    Attributes:
        field: name of the field, or empty.
        value: date and time without a zone.
    """

    def __init__(
        self, message: str = "", *, field: str = "", value: datetime | None = None
    ) -> None:
        super().__init__(message, errors={field: (message,)} if field else None)
        self.field = field
        self.value = value

    @classmethod
    def without_zone(cls, owner: str, value: datetime, *, field: str = "") -> NaiveDatetimeError:
        """Build the error for a ``value`` that was passed to ``owner``."""
        return cls(
            f"{owner} is {value.isoformat()}, which has no time zone; pass an aware datetime, for "
            "example datetime.now(timezone.utc)",
            field=field,
            value=value,
        )


class UnknownArgumentError(ValidationError, TypeError):
    """A constructor got an argument that no field of the class reads.

    Attributes:
        type_name: name of the class.
        argument: name of the argument.
    """

    def __init__(self, message: str = "", *, type_name: str = "", argument: str = "") -> None:
        super().__init__(message, errors={argument: (message,)} if argument else None)
        self.type_name = type_name
        self.argument = argument

    @classmethod
    def of_class(
        cls, type_name: str, argument: str, known: Collection[str]
    ) -> UnknownArgumentError:
        """Build the error for an ``argument`` of a class that has the ``known`` ones only."""
        near = get_close_matches(argument, known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
        return cls(
            f"{type_name} has no field {argument}; {advice}",
            type_name=type_name,
            argument=argument,
        )


class NotFoundError(DomainError):
    """The requested object does not exist."""

    @classmethod
    def no_result(cls) -> NotFoundError:
        """Build the error for a search that must find one item."""
        return NotFoundError(
            "the search for one item found none; call first() if there may be none"
        )


class MultipleResultsError(DomainError):
    """A search that must find one item finds several.

    Attributes:
        type_name: name of the items' class.
    """

    def __init__(self, message: str = "", *, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name

    @classmethod
    def second_result(cls, type_name: str) -> MultipleResultsError:
        """Build the error for a second item of this class."""
        return cls(
            f"the search for one {type_name} found several; narrow the condition, or call first() "
            "for the first in the order",
            type_name=type_name,
        )


class EntityNotFoundError(NotFoundError):
    """No entity of this type has this id.

    Attributes:
        entity_type: name of the type.
        entity_id: requested id.
    """

    def __init__(
        self, message: str = "", *, entity_type: str = "", entity_id: object = None
    ) -> None:
        super().__init__(message)
        self.entity_type = entity_type
        self.entity_id = entity_id

    @classmethod
    def missing_from(cls, repository: str, entity_id: object) -> EntityNotFoundError:
        """Build the error for an id that a repository of this class does not have."""
        return cls(
            f"{repository} has no {entity_id}; check the id, or call get() if it may be absent",
            entity_id=entity_id,
        )


class NodeNotFoundError(NotFoundError):
    """A node of a hierarchy is missing: the requested node, or one of its ancestors.

    Attributes:
        node_id: id of the missing node.
    """

    def __init__(self, message: str = "", *, node_id: object = None) -> None:
        super().__init__(message)
        self.node_id = node_id


class ImmutableObjectError(DomainError):
    """A message, an event or a value object cannot be changed.

    Attributes:
        type_name: name of the object's class.
        field: name of the field.
    """

    def __init__(self, message: str = "", *, type_name: str = "", field: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.field = field

    @classmethod
    def unchangeable(cls, type_name: str, field: str) -> ImmutableObjectError:
        """Build the error for an attempt to set or delete a field."""
        return cls(
            f"{type_name}.{field} cannot be changed; create a new object, for example with "
            f"model_copy(update={{{field!r}: ...}})",
            type_name=type_name,
            field=field,
        )


class MissingIdentityError(DomainError):
    """An aggregate has no id, or an event does not name its aggregate.

    Attributes:
        type_name: name of the aggregate's or the event's class.
        missing: names of the missing fields.
    """

    def __init__(
        self, message: str = "", *, type_name: str = "", missing: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.missing = tuple(missing)


class EventApplicationError(DomainError):
    """An event could not be applied to an aggregate.

    Attributes:
        aggregate_type: stored name of the aggregate's class.
        event_type: stored name of the event's class.
        field: name of the field at fault, or None.
    """

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
    """A node has more ancestors than a service may read; there is no partial result.

    Attributes:
        node_id: id of the node.
        limit: name of the exceeded limit.
        allowed: value of the limit.
    """

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
    """Stored links form a cycle.

    Attributes:
        path: node ids from a node, upwards, back to it.
    """

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
