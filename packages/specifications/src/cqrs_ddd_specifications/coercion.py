"""Values, made what the field holds; what cannot be is refused, so no world has to guess."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable, Mapping, Set
from datetime import date, datetime, time, timezone
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID

from .exceptions import (
    SpecificationLimitError,
    SpecificationValueError,
    UnsupportedOperatorError,
    shown,
)
from .field_types import FieldType, Kind
from .json_forms import json_form, refuse_unstorable
from .operators import CONTAINS_ALL, CONTAINS_ANY, EQ, LE, NE, Operator, Takes

MAX_LIST = 10_000
MAX_PATTERN = 1_000
MAX_WILDCARDS = 32
MAX_PATH = 16

_MOST_DIGITS = 1_000


def shaped(operator: Operator, value: Any) -> Any:
    """The value in the shape that the operator takes, whatever the field; lists become tuples."""
    takes = operator.takes
    if takes is Takes.NOTHING:
        if value not in (None, True):
            raise _wrong_shape(operator, value)
        return None
    if takes in (Takes.LIST, Takes.KEYS):
        return _listed(operator, value, of_text=takes is Takes.KEYS)
    if takes is Takes.RANGE:
        pair = _listed(operator, value)
        if len(pair) != 2:
            raise _wrong_shape(operator, value)
        return pair
    if takes is Takes.PATH:
        keys = _listed(
            operator, value.split(".") if isinstance(value, str) else value, of_text=True
        )
        if not keys or len(keys) > MAX_PATH:
            raise _wrong_shape(operator, value)
        return keys
    if takes in (Takes.TEXT, Takes.KEY, Takes.PATTERN, Takes.REGEX):
        return _pattern(operator, value)
    if takes is Takes.DOCUMENT:
        return json_form(value, operator.name)
    return value


def coerced(operator: Operator, value: Any, field_type: FieldType, attribute: str) -> Any:
    """The value as the field's type; raises ``SpecificationError`` for what cannot be compared.

    Numbers for a field of whole numbers stay what they are, so that 1.5 lies between 1 and 2.
    """
    kind = field_type.kind
    if operator.kinds and kind not in operator.kinds:
        raise UnsupportedOperatorError(
            f"{operator.name} is not for {attribute}, which is {kind.value}; it is for "
            f"{', '.join(sorted(k.value for k in operator.kinds))}"
        )
    if not operator.kinds:
        return value
    if operator.takes is Takes.VALUE:
        return _one(operator, value, field_type, attribute)
    if operator.takes is Takes.RANGE:
        return tuple(_one(LE, each, field_type, attribute) for each in value)
    if operator in (CONTAINS_ANY, CONTAINS_ALL):
        return tuple(_element(each, field_type.item or field_type, attribute) for each in value)
    if operator.takes is Takes.LIST:
        return tuple(_one(EQ, each, field_type, attribute) for each in value)
    return value


def _one(operator: Operator, value: Any, field_type: FieldType, attribute: str) -> Any:
    if value is None:
        if operator in (EQ, NE):
            return None
        raise SpecificationValueError(
            f"{attribute} {operator.name} None has no answer; use is_null"
        )
    try:
        return _COERCIONS[field_type.kind](value, field_type)
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = f" ({error})" if error.args and isinstance(error, _Refused) else ""
        raise SpecificationValueError(
            f"{attribute} is {field_type.kind.value} and cannot be compared with "
            f"{type(value).__name__} {shown(value)}{reason}"
        ) from error


def _element(value: Any, field_type: FieldType, attribute: str) -> Any:
    if value is None or isinstance(value, (list, tuple, Mapping)):
        raise SpecificationValueError(
            f"a list such as {attribute} is searched for plain values, got {shown(value)}"
        )
    return _one(EQ, value, field_type, attribute)


class _Refused(ValueError):
    """With a reason to be shown."""


def _text(value: Any, _: FieldType) -> str:
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, str):
        raise TypeError
    refuse_unstorable(value)
    return value


def _number(value: Any, _: FieldType) -> int | Decimal:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        value = Decimal(repr(value))
    if not isinstance(value, Decimal):
        raise TypeError
    _refuse_infinite(value.is_finite())
    if abs(value.adjusted()) > _MOST_DIGITS or len(value.as_tuple().digits) > _MOST_DIGITS:
        raise _Refused("it has more digits than databases keep")
    return value


def _float(value: Any, field_type: FieldType) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise TypeError
    number = float(value)
    _refuse_infinite(math.isfinite(number))
    return number


def _decimal(value: Any, field_type: FieldType) -> Decimal:
    if isinstance(value, str):
        try:
            value = Decimal(value)
        except InvalidOperation:
            raise _Refused("not a number") from None
    return Decimal(_number(value, field_type))


def _boolean(value: Any, _: FieldType) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _datetime(value: Any, _: FieldType) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value[:-1] + "+00:00" if value[-1:] in "zZ" else value)
    if not isinstance(value, datetime):
        raise TypeError
    if value.utcoffset() is None:
        raise _Refused("it has no zone; pass an aware one")
    # Two times of one zone are compared by their clocks, also in the hour that clocks repeat.
    return value.astimezone(timezone.utc)


def _date(value: Any, _: FieldType) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, datetime) or not isinstance(value, date):
        raise TypeError
    return value


def _time(value: Any, _: FieldType) -> time:
    if isinstance(value, str):
        value = time.fromisoformat(value)
    if not isinstance(value, time):
        raise TypeError
    if value.tzinfo is not None:
        raise _Refused("a time of day has no zone")
    return value


def _uuid(value: Any, _: FieldType) -> UUID:
    return value if isinstance(value, UUID) else UUID(value if isinstance(value, str) else None)


def _enum(value: Any, field_type: FieldType) -> Enum:
    assert field_type.enum is not None
    if isinstance(value, Enum) and not isinstance(value, field_type.enum):
        raise TypeError
    try:
        return field_type.enum(value)
    except (ValueError, LookupError, AttributeError, TypeError):  # _missing_ is the user's.
        raise _Refused("none of its values") from None


def _bytes(value: Any, _: FieldType) -> bytes:
    if isinstance(value, str):
        return b64decode(value, altchars=b"-_", validate=True)
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _array(value: Any, field_type: FieldType) -> list[Any]:
    if not isinstance(value, (list, tuple)) or field_type.item is None:
        raise TypeError
    coerce = _COERCIONS[field_type.item.kind]
    return [None if each is None else coerce(each, field_type.item) for each in value]


def _document(value: Any, _: FieldType) -> Any:
    return json_form(value, "a field of JSON")


def _anything(value: Any, field_type: FieldType) -> Any:
    if isinstance(value, str):
        return _text(value, field_type)
    if isinstance(value, float):
        _refuse_infinite(math.isfinite(value))
    if isinstance(value, Decimal):
        _refuse_infinite(value.is_finite())
    if isinstance(value, datetime):
        return _datetime(value, field_type)
    return value


_COERCIONS: dict[Kind, Callable[[Any, FieldType], Any]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _number,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.BOOLEAN: _boolean,
    Kind.DATETIME: _datetime,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.UUID: _uuid,
    Kind.ENUM: _enum,
    Kind.BYTES: _bytes,
    Kind.ARRAY: _array,
    Kind.JSON: _document,
    Kind.ANY: _anything,
}


def _listed(operator: Operator, value: Any, *, of_text: bool = False) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple, Set)):
        raise _wrong_shape(operator, value)
    if len(value) > MAX_LIST:
        raise SpecificationLimitError("a list", MAX_LIST, len(value))
    if of_text:
        return tuple(_pattern(operator, each) for each in value)
    return tuple(value)


def _pattern(operator: Operator, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong_shape(operator, value)
    if len(value) > MAX_PATTERN:
        raise SpecificationLimitError("a text or pattern", MAX_PATTERN, len(value))
    if operator.takes is Takes.PATTERN and value.count("%") > MAX_WILDCARDS:
        raise SpecificationLimitError("% in a pattern", MAX_WILDCARDS, value.count("%"))
    refuse_unstorable(value)
    return str(value)


def _refuse_infinite(is_finite: bool) -> None:
    if not is_finite:
        raise _Refused("a number must be finite")


def _wrong_shape(operator: Operator, value: object) -> SpecificationValueError:
    return SpecificationValueError(
        f"{operator.name} takes {operator.takes.value}, got {type(value).__name__} {shown(value)}"
    )
