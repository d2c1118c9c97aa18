"""What can be wrong with a query.

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
    """A specification, or the options of a query, cannot be what was asked."""


class UnknownOperatorError(SpecificationError):
    """No operator is spelled so; ``near`` are those that look alike."""

    def __init__(
        self, spelling: object, known: Collection[str] = (), *, advice: str | None = None
    ) -> None:
        self.spelling = spelling
        self.near = _near(spelling, known)
        advice = advice or _advice(self.near)
        super().__init__(f"there is no operator {shown(spelling)} to ask with; {advice}")


class UnknownFieldError(SpecificationError):
    """Not a field that may be asked for; ``near`` are those that look alike and may be."""

    def __init__(self, field: object, allowed: Collection[str]) -> None:
        self.field = field
        self.near = _near(field, allowed)
        super().__init__(f"there is no field {shown(field)} to ask for; {_advice(self.near)}")


class UnsupportedOperatorError(SpecificationError):
    """The operator exists, but not for this field, or not in this world."""


class SpecificationValueError(SpecificationError):
    """A field cannot be compared with this value."""


class SpecificationLimitError(SpecificationError):
    """More than is allowed; ``limit`` names the limit, ``allowed`` is how much it allows."""

    def __init__(self, limit: str, allowed: int, given: int) -> None:
        self.limit = limit
        self.allowed = allowed
        super().__init__(
            f"a query may have {limit} of at most {allowed:,}, got {given:,}; ask for less at once"
        )


def _near(name: object, known: Collection[str]) -> tuple[str, ...]:
    return tuple(get_close_matches(name[:100], known, n=3)) if isinstance(name, str) else ()


def _advice(near: tuple[str, ...]) -> str:
    if not near:
        return "nothing that is allowed looks like it"
    return f"did you mean {' or '.join(map(repr, near))}?"


def shown(value: object, length: int = 60) -> str:
    """A value for an error, however large or deep a stranger made it."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # A number of more digits than Python writes.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= length else f"{text[: length - 3]}..."


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
