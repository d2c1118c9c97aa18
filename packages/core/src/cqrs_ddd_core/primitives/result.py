"""Expected outcomes as values: a ``Success`` or a ``Failure``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeGuard, TypeVar

from .exceptions import BusinessRuleError, CQRSDDDError, DomainError, ValidationError

__all__ = ["Failure", "Result", "Success", "is_failure", "is_success"]

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Success(Generic[T]):
    """The value that was asked for."""

    value: T

    def map(self, transform: Callable[[T], U]) -> Success[U]:
        return Success(transform(self.value))

    def bind(self, step: Callable[[T], Result[U]]) -> Result[U]:
        return step(self.value)

    def unwrap(self) -> T:
        return self.value

    def unwrap_or(self, default: object) -> T:
        return self.value


@dataclass(frozen=True)
class Failure:
    """An expected refusal: a stable ``code`` for programs, a ``message`` for people."""

    code: str
    message: str
    details: Mapping[str, Any] | None = field(default=None, hash=False)

    def map(self, transform: Callable[[Any], object]) -> Failure:
        return self

    def bind(self, step: Callable[[Any], object]) -> Failure:
        return self

    def unwrap(self) -> NoReturn:
        """Raise the failure as an error of the domain."""
        raise self.to_exception()

    def unwrap_or(self, default: U) -> U:
        return default

    @classmethod
    def from_exception(cls, error: Exception) -> Failure:
        """The code is the error's class name; the facts it carries become the details."""
        details = vars(error) if isinstance(error, CQRSDDDError) else {}
        return cls(type(error).__name__, str(error), dict(details) or None)

    def to_exception(self) -> DomainError:
        """A ``ValidationError`` where the details name fields, else a ``BusinessRuleError``."""
        errors = (self.details or {}).get("errors")
        if isinstance(errors, Mapping):
            return ValidationError(self.message, errors=errors)
        return BusinessRuleError(f"{self.code}: {self.message}")


Result = Success[T] | Failure
"""Outcome of an operation that is expected to fail at times."""


def is_success(result: Result[T]) -> TypeGuard[Success[T]]:
    """Tell a type checker that the result is a ``Success`` where this is true."""
    return isinstance(result, Success)


def is_failure(result: Result[Any]) -> TypeGuard[Failure]:
    """Tell a type checker that the result is a ``Failure`` where this is true."""
    return isinstance(result, Failure)
