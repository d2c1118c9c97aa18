"""Validation and conversion of operands, shared by all backends so that they compare alike."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable, Mapping, Set
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from cqrs_ddd_core.primitives.exceptions import ConcealedError

from .exceptions import SpecificationValueError, UnsupportedOperatorError, ensure_limit, shorten
from .field_types import FieldType, Kind
from .json_values import DURATION, ensure_storable, to_document
from .operators import CONTAINS_ALL, CONTAINS_ANY, EQ, LE, NE, Operator, Takes

T = TypeVar("T")

MAX_LIST = 10_000
MAX_PATTERN = 1_000
MAX_WILDCARDS = 32
MAX_PATH = 16

_MAX_DIGITS = 1_000
_LONGEST_DURATION = timedelta(days=700_000)
"""Almost 2,000 years: SQLite stores the time that lies so far from 1970."""


def validate_path(attribute: object) -> None:
    """Raise ``SpecificationError`` unless ``attribute`` is a path of 1 to ``MAX_PATH`` names.

    Dots join the names; the path has at most ``MAX_PATTERN`` characters.
    """
    if not isinstance(attribute, str) or not all(attribute.split(".")):
        raise SpecificationValueError.unexpected_value(
            "an attribute", "a name, or a path of names joined by dots", attribute
        )
    ensure_limit("names in a path", MAX_PATH, attribute.count(".") + 1)
    ensure_limit("characters in a path", MAX_PATTERN, len(attribute))
    ensure_storable(attribute)


def validate_shape(operator: Operator, value: object) -> object:
    """Return the value in the shape that the operator takes for any field, with lists as tuples.

    Raises:
        SpecificationValueError: the value has another shape.
    """
    takes = operator.takes
    if takes is Takes.VALUE:
        return value
    if takes is Takes.NOTHING:
        _ensure_shape(value in (None, True), operator, value)
        return None
    if takes is Takes.LIST:
        return _to_tuple(operator, value)
    if takes is Takes.RANGE:
        pair = _to_tuple(operator, value)
        _ensure_shape(len(pair) == 2, operator, value)
        return pair
    if takes is Takes.KEYS:
        return _to_texts(operator, value)
    if takes is Takes.PATH:
        if isinstance(value, str) and value.startswith("$"):
            raise SpecificationValueError(
                f"{operator.name} takes the keys of the path without $, got {shorten(value)}; "
                f"write {value.lstrip('$.')!r}, or a list for a key that begins with $"
            )
        keys = _to_texts(operator, value.split(".") if isinstance(value, str) else value)
        _ensure_shape(0 < len(keys) <= MAX_PATH, operator, value)
        return keys
    if takes is Takes.DOCUMENT:
        return to_document(value, operator.name)
    return _to_bounded_text(operator, value)


def coerce(operator: Operator, value: Any, field_type: FieldType, attribute: str) -> Any:
    """Convert the operand, or each item of a list, to the type of the field.

    A number for an integer field is not rounded, so 1.5 lies between 1 and 2.

    Raises:
        UnsupportedOperatorError: the operator does not apply to fields of this type.
        SpecificationValueError: the field cannot be compared with the value.
    """
    kind = field_type.kind
    if not operator.kinds:
        return value
    if kind not in operator.kinds:
        raise UnsupportedOperatorError(
            f"{operator.name} does not apply to {attribute}, which is {kind.value}; it applies to "
            f"{', '.join(sorted(k.value for k in operator.kinds))}"
        )
    if operator.takes is Takes.VALUE:
        return _coerce_one(operator, value, field_type, attribute)
    if operator.takes is Takes.RANGE:
        return tuple(_coerce_one(LE, each, field_type, attribute) for each in value)
    if operator in (CONTAINS_ANY, CONTAINS_ALL):
        item = field_type.item if kind is Kind.ARRAY and field_type.item else field_type
        return tuple(_coerce_element(each, item, attribute) for each in value)
    if operator.takes is Takes.LIST:
        return tuple(_coerce_one(EQ, each, field_type, attribute) for each in value)
    return value


def _coerce_one(operator: Operator, value: object, field_type: FieldType, attribute: str) -> object:
    if value is None:
        if operator in (EQ, NE):
            return None
        raise SpecificationValueError(
            f"cannot compare {attribute} {operator.name} None; use is_null"
        )
    try:
        return _CONVERTERS[field_type.kind](value, field_type)
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = f" ({error})" if error.args and isinstance(error, _ConversionError) else ""
        raise SpecificationValueError(
            f"{attribute} is {field_type.kind.value} and cannot be compared with "
            f"the {type(value).__name__} that was passed{reason}"
        ) from ConcealedError(error)


def _coerce_element(value: object, field_type: FieldType, attribute: str) -> object:
    if value is None or isinstance(value, (list, tuple, Mapping)):
        raise SpecificationValueError(
            f"the list {attribute} can be searched for plain values only, got "
            f"a {type(value).__name__}"
        )
    return _coerce_one(EQ, value, field_type, attribute)


class _ConversionError(ValueError):
    """Failed conversion; its message is shown to the caller."""


def _ensure_type(value: object, expected: type[T]) -> T:
    if not isinstance(value, expected):
        raise TypeError
    return value


def _ensure_finite(number: float | Decimal) -> None:
    if not (number.is_finite() if isinstance(number, Decimal) else math.isfinite(number)):
        raise _ConversionError("a number must be finite")


def _to_text(value: object, _: FieldType) -> str:
    if isinstance(value, Enum):
        value = value.value
    return ensure_storable(_ensure_type(value, str))


def _to_number(value: object, _: FieldType) -> int | Decimal:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        value = Decimal(repr(value))
    number = _ensure_type(value, Decimal)
    _ensure_finite(number)
    if abs(number.adjusted()) > _MAX_DIGITS or len(number.as_tuple().digits) > _MAX_DIGITS:
        raise _ConversionError("it has more digits than databases store")
    return number


def _to_float(value: object, _: FieldType) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise TypeError
    number = float(value)
    _ensure_finite(number)
    return number


def _to_decimal(value: object, field_type: FieldType) -> Decimal:
    if isinstance(value, str):
        try:
            value = Decimal(value)
        except InvalidOperation:
            raise _ConversionError("not a number") from None
    return Decimal(_to_number(value, field_type))


def _to_boolean(value: object, _: FieldType) -> bool:
    return _ensure_type(value, bool)


def _to_datetime(value: object, _: FieldType) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value[:-1] + "+00:00" if value[-1:] in "zZ" else value)
    moment = _ensure_type(value, datetime)
    if moment.utcoffset() is None:
        raise _ConversionError("it has no time zone; pass an aware datetime")
    # Python compares two datetimes of one zone by wall clock, also in the hour that a change from
    # summer time repeats.
    return moment.astimezone(timezone.utc)


def _to_date(value: object, _: FieldType) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, datetime):
        raise TypeError
    return _ensure_type(value, date)


def _to_time(value: object, _: FieldType) -> time:
    found = _ensure_type(time.fromisoformat(value) if isinstance(value, str) else value, time)
    if found.tzinfo is not None:
        raise _ConversionError("a time of day must not have a time zone")
    return found


def _to_duration(value: object, _: FieldType) -> timedelta:
    if isinstance(value, str):
        value = DURATION.validate_python(value)
    duration = _ensure_type(value, timedelta)
    if abs(duration) > _LONGEST_DURATION:
        raise _ConversionError("it is longer than databases store")
    return duration


def _to_uuid(value: object, _: FieldType) -> UUID:
    return UUID(value) if isinstance(value, str) else _ensure_type(value, UUID)


def _to_enum(value: object, field_type: FieldType) -> Enum:
    assert field_type.enum is not None
    if isinstance(value, Enum) and not isinstance(value, field_type.enum):
        raise TypeError
    try:
        return field_type.enum(value)
    except (ValueError, LookupError, AttributeError, TypeError):  # A user's _missing_ may raise.
        raise _ConversionError("not one of its values") from None


def _to_bytes(value: object, _: FieldType) -> bytes:
    if isinstance(value, str):
        return b64decode(value, altchars=b"-_", validate=True)
    return _ensure_type(value, bytes)


def _to_array(value: object, field_type: FieldType) -> list[object]:
    if not isinstance(value, (list, tuple)) or field_type.item is None:
        raise TypeError
    item = field_type.item
    convert = _CONVERTERS[item.kind]
    return [None if each is None else convert(each, item) for each in value]


def _to_json(value: object, field_type: FieldType) -> object:
    document = to_document(value, "a JSON field")
    item = field_type.item
    if item is None or isinstance(document, (list, dict)):
        return document
    return to_document(_CONVERTERS[item.kind](value, item), "a JSON field")


def _to_undeclared(value: object, field_type: FieldType) -> object:
    if isinstance(value, str):
        return _to_text(value, field_type)
    if isinstance(value, datetime):
        return _to_datetime(value, field_type)
    if isinstance(value, (float, Decimal)):
        _ensure_finite(value)
    return value


_CONVERTERS: Mapping[Kind, Callable[[object, FieldType], object]] = {
    Kind.TEXT: _to_text,
    Kind.INTEGER: _to_number,
    Kind.FLOAT: _to_float,
    Kind.DECIMAL: _to_decimal,
    Kind.BOOLEAN: _to_boolean,
    Kind.DATETIME: _to_datetime,
    Kind.DATE: _to_date,
    Kind.TIME: _to_time,
    Kind.DURATION: _to_duration,
    Kind.UUID: _to_uuid,
    Kind.ENUM: _to_enum,
    Kind.BYTES: _to_bytes,
    Kind.ARRAY: _to_array,
    Kind.JSON: _to_json,
    Kind.ANY: _to_undeclared,
}


def _to_tuple(operator: Operator, value: object) -> tuple[object, ...]:
    if not isinstance(value, (list, tuple, Set)):
        raise SpecificationValueError.unexpected_value(operator.name, operator.takes.value, value)
    ensure_limit("items in a list", MAX_LIST, len(value))
    return tuple(value)


def _to_texts(operator: Operator, value: object) -> tuple[str, ...]:
    return tuple(_to_bounded_text(operator, each) for each in _to_tuple(operator, value))


def _to_bounded_text(operator: Operator, value: object) -> str:
    if not isinstance(value, str):
        raise SpecificationValueError.unexpected_value(operator.name, operator.takes.value, value)
    ensure_limit("characters in a text or pattern", MAX_PATTERN, len(value))
    if operator.takes is Takes.PATTERN:
        ensure_limit("% signs in a pattern", MAX_WILDCARDS, value.count("%"))
    return str(ensure_storable(value))


def _ensure_shape(is_right: bool, operator: Operator, value: object) -> None:
    if not is_right:
        raise SpecificationValueError.unexpected_value(operator.name, operator.takes.value, value)
