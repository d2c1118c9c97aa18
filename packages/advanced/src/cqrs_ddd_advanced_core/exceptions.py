"""Every error of the advanced package; all descend from ``CQRSDDDError`` of core."""

from __future__ import annotations

from cqrs_ddd_core.primitives.exceptions import (
    InfrastructureError,
    InvalidOperationError,
    SerializationError,
    TypeRegistryError,
)


class UpcasterChainError(TypeRegistryError, ValueError):
    """Upcasters leave a gap, share a step, or do not end at the version of their class."""

    def __init__(self, message: str = "", *, event_type: str = "", step: int | None = None) -> None:
        super().__init__(message, name=event_type)
        self.event_type = event_type
        self.step = step


class UpcastingError(SerializationError):
    """A stored event cannot be led to today's shape; ``step`` is the version that has no way on."""

    def __init__(
        self,
        message: str = "",
        *,
        event_type: str = "",
        stored_version: int | None = None,
        class_version: int | None = None,
        step: int | None = None,
    ) -> None:
        super().__init__(message, type_name=event_type)
        self.event_type = event_type
        self.stored_version = stored_version
        self.class_version = class_version
        self.step = step


class PastStateError(InvalidOperationError):
    """A state of the past was given to be saved; ``version`` is the one it was loaded at."""

    def __init__(
        self,
        message: str = "",
        *,
        aggregate_type: str = "",
        aggregate_id: object = None,
        version: int = 0,
    ) -> None:
        super().__init__(message)
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.version = version


class SnapshotError(InfrastructureError):
    """The snapshot store refused or failed."""
