"""Columns that would give back another value than they got."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, FutureDate, FutureDatetime, PastDate, PastDatetime
from sqlalchemy import Boolean, Date, DateTime, Float, Integer, Numeric, Time, Uuid
from sqlalchemy.types import TypeEngine

_MEANT: Mapping[Any, type[Any]] = {
    AwareDatetime: datetime,
    PastDatetime: datetime,
    FutureDatetime: datetime,
    PastDate: date,
    FutureDate: date,
}


def _is_zoneless(kept: TypeEngine[Any]) -> bool:
    return isinstance(kept, DateTime) and not kept.timezone


def _is_float(kept: TypeEngine[Any]) -> bool:
    return isinstance(kept, Float) or (isinstance(kept, Numeric) and not kept.asdecimal)


def _has_scale(kept: TypeEngine[Any]) -> bool:
    return isinstance(kept, Numeric) and not isinstance(kept, Float) and kept.scale is not None


def _is_uuid(kept: TypeEngine[Any]) -> bool:
    return isinstance(kept, Uuid) and kept.as_uuid


def _is_uuid_text(kept: TypeEngine[Any]) -> bool:
    return isinstance(kept, Uuid) and not kept.as_uuid


def _is_a(*types: type[TypeEngine[Any]]) -> Callable[[TypeEngine[Any]], bool]:
    return lambda kept: isinstance(kept, types)


_LOSING: Mapping[type[Any], Sequence[tuple[Callable[[TypeEngine[Any]], bool], str]]] = {
    bool: (),
    int: (
        (_is_float, "rounds an int of more than 15 digits; use BigInteger, or Numeric"),
        (_is_a(Boolean), "knows 0 and 1 only; use BigInteger"),
    ),
    float: (
        (_is_a(Integer), "has no fractions for a float; use Float(53)"),
        (_has_scale, "rounds a float; use Float(53)"),
    ),
    Decimal: (
        (_is_float, "rounds a Decimal; use Numeric, or ExactDecimal"),
        (_is_a(Integer), "has no fractions for a Decimal; use Numeric, or ExactDecimal"),
    ),
    datetime: (
        (_is_zoneless, "forgets the zone of a datetime; use UtcDateTime"),
        (_is_a(Date, Time), "keeps a part of a datetime only; use UtcDateTime"),
    ),
    str: (
        (_is_a(Numeric, Float, Integer, Boolean, Date, DateTime, Time), "is not for str; use Text"),
        (_is_uuid, "takes UUIDs and not str; use Text, or declare a UUID"),
    ),
    UUID: ((_is_uuid_text, "takes str and not UUIDs; use Uuid"),),
}
"""By the kind of a value, columns that would give back another one; what is absent is fine."""


def loss_in(kind: type[Any], kept: TypeEngine[Any]) -> str | None:
    """What the column would do to a value of that class."""
    if issubclass(kind, Enum):
        return None
    rows = next((_LOSING[base] for base in meant(kind).__mro__ if base in _LOSING), ())
    return next((told for is_losing, told in rows if is_losing(kept)), None)


def meant(kind: type[Any]) -> type[Any]:
    """The class of the values, where pydantic has one of its own for the annotation."""
    return _MEANT.get(kind, kind)
