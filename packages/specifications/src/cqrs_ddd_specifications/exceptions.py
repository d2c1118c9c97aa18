"""Errors of specifications and query options.

::

    ValidationError (core)
    └── SpecificationError
        ├── UnknownOperatorError
        ├── UnknownFieldError
        ├── UnsupportedOperatorError
        ├── SpecificationValueError
        │   ├── NonUniqueOrderError
        │   └── InvalidCursorError
        └── SpecificationLimitError
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from reprlib import Repr

from cqrs_ddd_core.primitives.exceptions import ValidationError


class SpecificationError(ValidationError):
    """Specification, or options of a query, that cannot be used.

    Args:
        message: the problem and the next step.
        errors: problems by field (a dotted path).

    Attributes:
        path: place in written data, such as ``and[1].not``; "" at its root.
    """

    path: str = ""

    def add_step(self, step: str) -> None:
        """Put a step before the path, since the data around the present place is known now."""
        self.path = f"{step}.{self.path}" if self.path else step

    def __str__(self) -> str:
        message = super().__str__()
        return f"at {self.path}: {message}" if self.path else message


class UnknownOperatorError(SpecificationError):
    """Spelling that no operator has.

    Attributes:
        spelling: the spelling that was given.
        near: similar spellings of operators.
    """

    def __init__(
        self, spelling: object, known: Collection[str] = (), *, advice: str | None = None
    ) -> None:
        self.spelling = spelling
        self.near = _find_near(spelling, known)
        super().__init__(f"unknown operator {shorten(spelling)}; {advice or _advise(self.near)}")


class UnknownFieldError(SpecificationError):
    """Field that does not exist, or that the caller may not use.

    Attributes:
        field: the field that was given.
        near: similar names of allowed fields.
    """

    def __init__(self, field: object, allowed: Collection[str]) -> None:
        self.field = field
        self.near = _find_near(field, allowed)
        super().__init__(f"unknown field {shorten(field)}; {_advise(self.near)}")


class UnsupportedOperatorError(SpecificationError):
    """Operator that the type of a field, or a backend, does not support."""


class SpecificationValueError(SpecificationError):
    """Value that a field or an option does not accept."""

    @classmethod
    def unexpected_value(cls, name: str, expected: str, value: object) -> SpecificationValueError:
        """Build the error for a value that is not what ``name`` takes."""
        return cls(f"{name} takes {expected}, got {_describe_value(value)}")


class NonUniqueOrderError(SpecificationValueError):
    """Order with ties, in which the next page could lose or repeat items.

    Attributes:
        ordering: the attributes of the order.
    """

    def __init__(self, message: str, ordering: Collection[str]) -> None:
        self.ordering = tuple(ordering)
        super().__init__(message)

    @classmethod
    def without_key(cls, ordering: Collection[str], key: str) -> NonUniqueOrderError:
        """Build the error for an order that does not include the key."""
        names = ", ".join(map(repr, (*ordering, key)))
        return cls(
            f"cannot find the page after an item in the order {shorten(tuple(ordering))}, since "
            f"equal items may be on both sides of it; order the first page by a unique attribute, "
            f"too: with_ordering({names}), or pass key= with the unique attribute of the order",
            ordering,
        )

    @classmethod
    def not_selected(
        cls, ordering: Collection[str], missing: Collection[str]
    ) -> NonUniqueOrderError:
        """Build the error for selected fields that do not include the order."""
        return cls(
            f"cannot find the page after a row without {', '.join(missing)}; select these fields, "
            "too: with_select_fields(...)",
            ordering,
        )

    @classmethod
    def key_is_none(cls, ordering: Collection[str], key: str) -> NonUniqueOrderError:
        """Build the error for an item without a value of the key."""
        return cls(
            f"cannot find the page after an item whose {key} is None or missing; pass key= with an "
            "attribute of the order that every item has",
            ordering,
        )


class InvalidCursorError(SpecificationValueError):
    """Text from a client that is not a cursor for the order of a search."""

    @classmethod
    def malformed(cls) -> InvalidCursorError:
        """Build the error for a text that is not a cursor; the text is not repeated."""
        return cls("the cursor is malformed; request the first page without a cursor")

    @classmethod
    def of_other_order(cls, expected: Collection[str], given: object) -> InvalidCursorError:
        """Build the error for a cursor of another order."""
        return cls(
            f"the cursor is for the order {shorten(given)}, and the search is ordered by "
            f"{', '.join(expected)}; request the first page without a cursor"
        )


class SpecificationLimitError(SpecificationError):
    """Query that is larger than a limit allows.

    Attributes:
        limit: the counted thing, such as ``"levels"``.
        allowed: the largest allowed number.
    """

    def __init__(self, limit: str, allowed: int, given: int) -> None:
        self.limit = limit
        self.allowed = allowed
        super().__init__(
            f"a query may have at most {allowed:,} {limit}, got {given:,}; send a smaller query"
        )


def ensure_limit(limit: str, allowed: int, given: int) -> None:
    """Raise ``SpecificationLimitError`` if ``given`` is larger than ``allowed``."""
    if given > allowed:
        raise SpecificationLimitError(limit, allowed, given)


def _describe_value(value: object) -> str:
    kind = type(value).__name__
    return f"{kind} {shorten(value)}" if isinstance(value, (int, float)) else f"a {kind}"


def _find_near(name: object, known: Collection[str]) -> tuple[str, ...]:
    return tuple(get_close_matches(name[:100], known, n=3)) if isinstance(name, str) else ()


def _advise(near: tuple[str, ...]) -> str:
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "no similar name is allowed"


def describe_data(data: object) -> str:
    """Return the keys of written data, or its type, since its values may be personal."""
    if isinstance(data, Mapping):
        return f"the keys {shorten(list(data))}"
    return f"a {type(data).__name__}"


def shorten(value: object, length: int = 60) -> str:
    """Return the repr of a value, cut so that an error message stays short for any input."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python converts integers of a limited number of digits to text.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= length else f"{text[: length - 3]}..."


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
