"""Expected outcomes as values: a ``Success`` or a ``Failure``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NoReturn, TypeGuard, TypeVar

from .exceptions import BusinessRuleError, CQRSDDDError, DomainError, ValidationError

__all__ = ["Failure", "Result", "Success", "is_failure", "is_success"]

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Success(Generic[T]):
    """Outcome of an operation that succeeded.

    Attributes:
        value: result of the operation.
    """

    value: T

    def __bool__(self) -> Literal[True]:
        """Return True: a success is true in a condition, whatever its value."""
        return True

    def map(self, transform: Callable[[T], U]) -> Success[U]:
        """Return a success with the transformed value."""
        return Success(transform(self.value))

    def bind(self, step: Callable[[T], Result[U]]) -> Result[U]:
        """Return the result of the next step, which gets the value."""
        return step(self.value)

    def unwrap(self) -> T:
        """Return the value."""
        return self.value

    def unwrap_or(self, default: object) -> T:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Failure:
    """Outcome of an operation that failed in an expected way.

    Attributes:
        code: stable code for programs.
        message: text for people.
        details: further facts, or None.
    """

    code: str
    message: str
    details: Mapping[str, Any] | None = field(default=None, hash=False)

    def __bool__(self) -> Literal[False]:
        """Return False: a failure is false in a condition."""
        return False

    def map(self, transform: Callable[[Any], object]) -> Failure:
        """Return this failure."""
        return self

    def bind(self, step: Callable[[Any], object]) -> Failure:
        """Return this failure without running the next step."""
        return self

    def unwrap(self) -> NoReturn:
        """Raise the failure as an error of the domain."""
        raise self.to_exception()

    def unwrap_or(self, default: U) -> U:
        """Return the default."""
        return default

    @classmethod
    def from_exception(cls, error: Exception) -> Failure:
        """Create a failure with the class name of an error as its code.

        The attributes of an error of the toolkit become the details.
        """
        details = vars(error) if isinstance(error, CQRSDDDError) else {}
        return cls(type(error).__name__, str(error), dict(details) or None)

    def to_exception(self) -> DomainError:
        """Return a ``ValidationError`` if the details name fields, else a ``BusinessRuleError``."""
        errors = (self.details or {}).get("errors")
        if isinstance(errors, Mapping):
            return ValidationError(self.message, errors=errors)
        return BusinessRuleError(f"{self.code}: {self.message}")


Result = Success[T] | Failure
"""Outcome of an operation that is expected to fail at times."""


def is_success(result: Result[T]) -> TypeGuard[Success[T]]:
    """Return whether the result is a ``Success``, and narrow its type."""
    return isinstance(result, Success)


def is_failure(result: Result[Any]) -> TypeGuard[Failure]:
    """Return whether the result is a ``Failure``, and narrow its type."""
    return isinstance(result, Failure)
