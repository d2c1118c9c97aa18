"""Classification of errors by the reaction that helps: retry, dead letter or answer."""

from __future__ import annotations

from enum import Enum

from .base import (
    ConfigError,
    DuplicateCommandError,
    InvalidOperationError,
    PermanentCommandError,
)
from .domain import DomainError
from .handlers import HandlerError, TypeRegistryError
from .infrastructure import (
    AmbiguousStreamError,
    DuplicateEventError,
    DuplicateKeyError,
    SerializationError,
)

_PERMANENT = (
    PermanentCommandError,
    DuplicateCommandError,
    InvalidOperationError,
    ConfigError,
    HandlerError,
    TypeRegistryError,
    SerializationError,
    DuplicateKeyError,
    DuplicateEventError,
    AmbiguousStreamError,
)


class ErrorClass(Enum):
    """The reaction to a failure."""

    TRANSIENT = "transient"
    """Retry."""
    PERMANENT = "permanent"
    """Keep it as a dead letter for an operator."""
    BUSINESS = "business"
    """Answer with it: a rule of the domain forbids the request."""


def classify_error(error: BaseException) -> ErrorClass:
    """Classify an error by whether a retry may help.

    An error outside this tree counts as transient: a bounded retry of an unknown failure does
    less harm than losing the command.
    """
    if isinstance(error, DomainError):
        return ErrorClass.BUSINESS
    if isinstance(error, _PERMANENT):
        return ErrorClass.PERMANENT
    return ErrorClass.TRANSIENT
