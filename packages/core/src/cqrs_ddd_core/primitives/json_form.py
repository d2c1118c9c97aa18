"""JSON form of a type, from which each of its values is restored unchanged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from math import copysign
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import pydantic
from pydantic_core import to_json

from . import json_fields
from .exceptions import ConcealedError, SerializationError

T = TypeVar("T")

_ABSENT = object()
_SIMPLE = frozenset({str, int, bool, bytes, type(None)})
"""Classes of which two instances of the same class are compared by ``==``."""
_VALUES = frozenset({Decimal, UUID, datetime, date, time, timedelta})
"""Classes of which an instance of a subclass may come back as an instance of the class."""
_LEAVES = _SIMPLE | _VALUES | {float}
_SETS = (set, frozenset)


class Difference(NamedTuple):
    """First part in which two values differ.

    Attributes:
        path: dotted path of the part, empty for the whole value.
        one: part of the first value.
        other: part of the second value.
    """

    path: str
    one: object
    other: object


class JsonForm(Generic[T]):
    """Writer and reader of the values of one type as JSON.

    The keys of the JSON are names of fields; they are read by name or by alias, in the JSON mode of
    pydantic. The class is checked once. Values are restored for a check only where the class cannot
    guarantee that JSON keeps them.

    Args:
        type_: model, or another type that pydantic knows.
        name: name of the type for errors.
        exclude: fields of a model that are stored elsewhere.

    Raises:
        SerializationError: JSON never keeps one of the fields, or pydantic does not know the type.
    """

    def __init__(self, type_: Any, name: str, *, exclude: Collection[str] = ()) -> None:
        self.name = name
        schema, validator, self._serializer = _read_schema(type_, name)
        for path, reason in json_fields.find_lost_fields(schema):
            raise SerializationError.lost_field(name, path, reason)
        self._exclude = frozenset(exclude)
        check = json_fields.check_fields(schema, exclude=self._exclude)
        self._is_kept = check.is_kept
        self.is_plain = check.is_plain
        """True if ``validate_python`` of pydantic reads the JSON values, too."""
        self._dump = partial(
            self._serializer.to_python,
            mode="json",
            by_alias=False,
            round_trip=True,
            exclude=set(exclude) or None,
            # Pydantic warns of values that it has not validated, such as defaults.
            warnings=False if check.is_complete else "error",
        )
        # Never strict: JSON has no times, no tuples and no bytes.
        options = {"strict": False, "by_alias": True, "by_name": True}
        self.read_json = partial(validator.validate_json, **options)
        """Function that restores a value from JSON text; it raises ``pydantic.ValidationError``."""
        read = partial(validator.validate_python, **options)
        self.read: Callable[[Any], Any] = read if check.is_plain else self._read_as_json
        """Function that restores a value from JSON values; it raises ``pydantic.ValidationError``,
        or ``SerializationError`` for data that is not JSON."""

    def write(self, value: T) -> Any:
        """Return a value as JSON values.

        Raises:
            SerializationError: JSON cannot represent the value, or changes it.
        """
        try:
            if self._is_kept(value):
                return self._dump(value)
        except Exception:  # The value of a field is not of its type, such as a default of None.
            pass
        return self._write_checked(value)

    def ensure_kept(self, value: T) -> None:
        """Raise ``SerializationError`` for a value that JSON changes or cannot represent."""
        try:
            if self._is_kept(value):
                return
        except Exception:  # See `write`.
            pass
        self._write_checked(value)

    def _write_checked(self, value: T) -> Any:
        try:
            content = self._dump(value, warnings=False)
        except Exception as error:  # Serialisers of the class may raise anything.
            field = self._find_unwritable(value)
            raise SerializationError.not_json(
                f"{self.name}.{field}" if field else self.name,
                error,
                type_name=self.name,
                field=field,
            ) from ConcealedError(error)
        data = content
        if self._exclude:
            data = {**content, **{name: getattr(value, name) for name in self._exclude}}
        try:
            restored = self.read(data)
        except Exception as error:  # Validators of the class may raise anything.
            raise SerializationError.not_readable(
                self.name, *_find_fault(error)
            ) from ConcealedError(error)
        found = find_difference(value, restored, exclude=self._exclude)
        if found is not None:
            raise SerializationError.changed_value(self.name, *found)
        return content

    def _read_as_json(self, data: object) -> Any:
        try:
            encoded = to_json(data)
        except ValueError as error:
            raise SerializationError.not_json(
                self.name, error, type_name=self.name
            ) from ConcealedError(error)
        return self.read_json(encoded)

    def _find_unwritable(self, value: T) -> str:
        names = type(value).model_fields if isinstance(value, pydantic.BaseModel) else ()
        for name in names:
            if name not in self._exclude:
                try:
                    self._serializer.to_python(value, mode="json", include={name}, warnings=False)
                except Exception:
                    return name
        return ""


def find_difference(
    one: Any, other: Any, path: str = "", *, exclude: Collection[str] = ()
) -> Difference | None:
    """Return the first part that differs in class or value, or None for equal values.

    Fields are compared one by one, so that ``__eq__`` of a model decides nothing. Private
    attributes and cached properties do not belong to a value.

    Args:
        one: value.
        other: value that may have been restored from JSON.
        path: dotted path of both values in a larger one.
        exclude: names of parts of these values that are not compared.
    """
    parts = _list_parts(one)
    if parts is None:
        return None if _is_same_value(one, other) else Difference(path, one, other)
    others = _list_parts(other)
    if type(one) is not type(other) or others is None or len(parts) != len(others):
        return Difference(path, one, other)
    for key, part in parts.items():
        match = others.get(key, _ABSENT)
        if part.__class__ is match.__class__ in _SIMPLE and part == match:
            continue
        if key not in exclude:
            place = str(key) if not path else f"{path}.{key}"
            found = find_difference(part, match, path if isinstance(one, _SETS) else place)
            if found is not None:
                return found
    is_same = isinstance(one, pydantic.BaseModel) or _have_same_keys_and_limit(
        one, other, parts, others
    )
    return None if is_same else Difference(path, one, other)


def _find_fault(error: Exception) -> tuple[str, str]:
    if not isinstance(error, pydantic.ValidationError):
        return "", type(error).__name__
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), first["type"]


def _read_schema(type_: Any, name: str) -> tuple[Any, Any, Any]:
    try:
        if isinstance(type_, type) and issubclass(type_, pydantic.BaseModel):
            if not type_.__pydantic_complete__:
                type_.model_rebuild()
            known: Any = type_
            return (
                known.__pydantic_core_schema__,
                known.__pydantic_validator__,
                known.__pydantic_serializer__,
            )
        adapter = pydantic.TypeAdapter[Any](type_)
    except (pydantic.PydanticUserError, pydantic.PydanticUndefinedAnnotation) as error:
        raise SerializationError.unknown_type(name, error.message.splitlines()[0]) from error
    return adapter.core_schema, adapter.validator, adapter.serializer


def _list_parts(value: Any) -> Mapping[Any, Any] | None:
    """Return the parts of a value by name or place, or None for a value without parts."""
    if value.__class__ in _LEAVES:
        return None
    if isinstance(value, pydantic.BaseModel):
        # Without cached properties, which are in `__dict__`, too, and without private attributes.
        known = type(value).model_fields
        parts = {name: part for name, part in value.__dict__.items() if name in known}
        return {**parts, **(value.__pydantic_extra__ or {})}
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple, deque)):
        return dict(enumerate(value))
    if isinstance(value, _SETS):
        return {each: each for each in value}
    if is_dataclass(value):
        return {each.name: getattr(value, each.name, _ABSENT) for each in fields(value)}
    return None


def _have_same_keys_and_limit(
    one: Any, other: Any, parts: Mapping[Any, Any], others: Mapping[Any, Any]
) -> bool:
    """Return whether two collections with equal parts have equal keys and an equal limit."""
    if isinstance(one, dict):
        keys = {key: key for key in others}
        return all(type(key) is type(keys[key]) for key in parts)
    return not isinstance(one, deque) or one.maxlen == other.maxlen


def _is_same_value(one: Any, other: Any) -> bool:
    kind, restored = one.__class__, other.__class__
    if kind is restored and kind in _SIMPLE:
        return bool(one == other)
    if kind is int and restored in (float, Decimal):
        return bool(one == other)  # An unvalidated number, such as a default of 0.
    if kind is not restored and not (restored in _VALUES and isinstance(one, restored)):
        return False
    if restored is float:
        return bool(one == other) and copysign(1, one) == copysign(1, other)
    if restored is Decimal:
        return bool(one.as_tuple() == other.as_tuple())
    if restored in (datetime, time) and one.tzinfo is not None:
        is_fixed = json_fields.has_fixed_offset(one.tzinfo)
        return is_fixed and bool(one == other) and one.utcoffset() == other.utcoffset()
    try:
        return bool(one == other)
    except Exception:  # An `__eq__` of the application, such as the one of an array.
        return False
