"""Assertion of an expected error, and values that some databases change or reject."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, TypeVar

E = TypeVar("E", bound=BaseException)

EXACT_JSON: dict[str, Any] = {
    "sum": 0.1 + 0.2,
    "whole": 1.0,
    "negative zero": -0.0,
    "smallest": 5e-324,
    "large": 2**64 + 1,
    "digits": "0012.50",
    "text": "naïve ☃ 𝄞 \u2028 \\u0041 \x00",
    "": [{}, [], None, True, 1],
}
"""JSON values that some databases and some parsers change."""

UNSTORABLE_IDS: tuple[Any, ...] = ("a\x00b", "half of a pair \ud83d", 7)
"""Ids that one database stores unchanged, another one changes and a third one rejects."""


class raises(Generic[E]):
    """Context manager that fails unless its block raises an error of the given type.

    Any other error passes through.

    Args:
        error_type: Expected class of the error.

    Attributes:
        error: The caught error; it is set when the block has raised it.
    """

    error: E

    def __init__(self, error_type: type[E]) -> None:
        self._error_type = error_type

    def __enter__(self) -> raises[E]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is None:
            raise AssertionError(f"expected {self._error_type.__name__}, but nothing was raised")
        if not isinstance(error, self._error_type):
            return False
        self.error = error
        return True
