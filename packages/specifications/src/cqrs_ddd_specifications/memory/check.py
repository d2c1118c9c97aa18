"""One condition as Python code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """An expression with places for what it is about; no value is ever part of the code.

    Args:
        code: with ``{x}`` where the value of the attribute is read, ``{again}`` where it is used
            once more, and ``{v}`` for ``value``.
    """

    code: str
    value: Any = None


def calling(function: Callable[[Any], bool]) -> Check:
    """``function`` decides; it is asked about None too."""
    return Check("{v}({x})", function)


def calling_unless_none(function: Callable[[Any], bool]) -> Check:
    return Check("{x} is not None and {v}({again})", function)
