"""Copies of values that can be changed in place."""

from copy import deepcopy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from .immutable import ImmutableModel

V = TypeVar("V")

ATOMS = frozenset(
    {str, int, float, bool, bytes, type(None), Decimal, UUID, date, datetime, time, timedelta}
)
"""Classes whose instances have no part that can be changed."""


def copy_mutable(value: V) -> V:
    """Return a value that is equal and shares no part that can be changed with ``value``.

    A value without such a part is returned itself.
    """
    kind: Any = value.__class__
    if kind in ATOMS:
        return value
    copied: Any
    if kind is list:
        copied = [copy_mutable(each) for each in value]  # type: ignore[attr-defined]
    elif kind is dict:
        copied = {key: copy_mutable(each) for key, each in value.items()}  # type: ignore[attr-defined]
    elif _is_immutable(value):
        return value
    else:
        copied = deepcopy(value)
    result: V = copied
    return result


def _is_immutable(value: object) -> bool:
    if value.__class__ in ATOMS or isinstance(value, Enum):
        return True
    if isinstance(value, (tuple, frozenset)):
        return value.__class__ in (tuple, frozenset) and all(map(_is_immutable, value))
    if isinstance(value, ImmutableModel):
        return all(map(_is_immutable, value.__dict__.values()))
    return False
