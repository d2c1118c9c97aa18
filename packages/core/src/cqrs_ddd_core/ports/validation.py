"""Port of validators."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class ValidationResult:
    """Result of a validation.

    Attributes:
        errors: problems by field (dotted path; empty for the whole object).
    """

    errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_valid(self) -> bool:
        """Return whether there are no errors."""
        return not self.errors

    def __bool__(self) -> bool:
        """Return whether there are no errors: an invalid result is false in a condition."""
        return self.is_valid


@runtime_checkable
class IValidator(Protocol):
    """Validator of objects."""

    @abstractmethod
    async def validate(self, obj: Any) -> ValidationResult:
        """Return the problems of the object; raise an error only if it cannot be checked."""
        ...
