"""Is this acceptable?"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class ValidationResult:
    """``errors`` maps a field (dotted path, empty for the whole) to what is wrong with it."""

    errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_valid(self) -> bool:
        return not self.errors


@runtime_checkable
class IValidator(Protocol):
    """Judges an object, and raises only when it cannot judge."""

    @abstractmethod
    async def validate(self, obj: Any) -> ValidationResult: ...
