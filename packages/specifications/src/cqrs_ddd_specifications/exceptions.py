"""Errors of specifications and query options.

::

    ValidationError (core)
    └── SpecificationError
        ├── UnknownOperatorError
        ├── UnknownFieldError
        ├── UnsupportedOperatorError
        ├── SpecificationValueError
        └── SpecificationLimitError
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from reprlib import Repr

from cqrs_ddd_core.primitives.exceptions import ValidationError


class SpecificationError(ValidationError):
    """A specification, or the options of a query, that cannot be used."""


class UnknownOperatorError(SpecificationError):
    """A spelling that belongs to no operator; ``near`` has similar ones."""

    def __init__(
        self, spelling: object, known: Collection[str] = (), *, advice: str | None = None
    ) -> None:
        self.spelling = spelling
        self.near = _find_near(spelling, known)
        super().__init__(f"unknown operator {shorten(spelling)}; {advice or _advise(self.near)}")


class UnknownFieldError(SpecificationError):
    """A field that does not exist or is not allowed; ``near`` has similar allowed ones."""

    def __init__(self, field: object, allowed: Collection[str]) -> None:
        self.field = field
        self.near = _find_near(field, allowed)
        super().__init__(f"unknown field {shorten(field)}; {_advise(self.near)}")


class UnsupportedOperatorError(SpecificationError):
    """An operator that this field, or this backend, does not support."""


class SpecificationValueError(SpecificationError):
    """A value that a field or an option cannot take."""

    @classmethod
    def unexpected(cls, name: str, expected: str, value: object) -> SpecificationValueError:
        return cls(f"{name} takes {expected}, got {type(value).__name__} {shorten(value)}")


class SpecificationLimitError(SpecificationError):
    """More than a limit allows; ``limit`` names the limit, ``allowed`` is its size."""

    def __init__(self, limit: str, allowed: int, given: int) -> None:
        self.limit = limit
        self.allowed = allowed
        super().__init__(
            f"a query may have {limit} of at most {allowed:,}, got {given:,}; send smaller queries"
        )


def ensure_limit(limit: str, allowed: int, given: int) -> None:
    """Raise ``SpecificationLimitError`` if more is given than allowed."""
    if given > allowed:
        raise SpecificationLimitError(limit, allowed, given)


def _find_near(name: object, known: Collection[str]) -> tuple[str, ...]:
    return tuple(get_close_matches(name[:100], known, n=3)) if isinstance(name, str) else ()


def _advise(near: tuple[str, ...]) -> str:
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "no similar name is allowed"


def shorten(value: object, length: int = 60) -> str:
    """Return the repr of a value, cut so that an error stays short for any input."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # An integer with more digits than Python converts to text.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= length else f"{text[: length - 3]}..."


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
