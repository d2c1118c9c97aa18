"""Types of fields, read from the annotations of the owning class."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import UnionType
from uuid import UUID

import pydantic

from .exceptions import UnknownFieldError


class Kind(Enum):
    """Kind of a field's values; fields of one kind compare alike in every backend."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATETIME = "date and time"
    DATE = "date"
    TIME = "time"
    DURATION = "duration"
    UUID = "UUID"
    ENUM = "enum"
    BYTES = "bytes"
    ARRAY = "array"
    JSON = "JSON"
    ANY = "undeclared"
    """Kind of a value in a dict: values of different Python types are unequal and have no order."""
    OTHER = "of another type"
    """Kind of a value that no operator compares; it may only be None or not."""


@dataclasses.dataclass(frozen=True)
class FieldType:
    """Type of a field.

    Args:
        kind: the kind of the values.
        enum: the class of an enum field.
        item: the type of the elements of an array; for JSON, the type whose values are texts there
            and have several spellings, such as UUID.
    """

    kind: Kind
    enum: type[Enum] | None = None
    item: FieldType | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """One attribute in a dotted path.

    Args:
        name: the name of the attribute.
        is_many: True if the attribute is a list; the path then leads to all its elements.
    """

    name: str
    is_many: bool = False


@dataclasses.dataclass(frozen=True)
class Path:
    """Dotted path through a class: attributes of objects first, then keys into JSON.

    Args:
        steps: the attributes.
        keys: keys of JSON objects below the last attribute.
        type: the type of the field at the end.
    """

    steps: tuple[Step, ...]
    keys: tuple[str, ...]
    type: FieldType


ANY = FieldType(Kind.ANY)
JSON = FieldType(Kind.JSON)
OTHER = FieldType(Kind.OTHER)

_KINDS: Mapping[type, Kind] = {
    bool: Kind.BOOLEAN,
    int: Kind.INTEGER,
    float: Kind.FLOAT,
    Decimal: Kind.DECIMAL,
    str: Kind.TEXT,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    time: Kind.TIME,
    timedelta: Kind.DURATION,
    UUID: Kind.UUID,
    bytes: Kind.BYTES,
}
"""Checked in this order, since bool is a subclass of int and datetime one of date."""

# At run time these pydantic types are not subclasses of datetime, date or str.
_BY_PYDANTIC: Mapping[object, type] = {
    pydantic.AwareDatetime: datetime,
    pydantic.FutureDatetime: datetime,
    pydantic.NaiveDatetime: datetime,
    pydantic.PastDatetime: datetime,
    pydantic.FutureDate: date,
    pydantic.PastDate: date,
    pydantic.EmailStr: str,
}
_LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)
_DOCUMENTS = (Mapping, *_LISTS)


def type_of(annotation: object) -> FieldType:
    """Return the field type for an annotation.

    Objects with fields, dicts, lists of them, unions and undeclared values are JSON; a class of
    other values, such as ``IPv4Address``, is ``OTHER``.
    """
    annotation = _unwrap(annotation)
    if isinstance(annotation, typing.TypeVar):
        return ANY
    if _is_class(annotation):
        if issubclass(annotation, Enum):
            return FieldType(Kind.ENUM, enum=annotation)
        for python_type, kind in _KINDS.items():
            if issubclass(annotation, python_type):
                return FieldType(kind)
        if not _is_document(annotation):
            return OTHER
    item = _item_of(annotation)
    item_type = JSON if item is None else type_of(item)
    if item_type.kind in (Kind.JSON, Kind.ARRAY):
        return JSON
    return OTHER if item_type is OTHER else FieldType(Kind.ARRAY, item=item_type)


def _is_document(annotation: type) -> bool:
    """Return whether JSON preserves the structure of the values of a class."""
    # On Python 3.11 and later Any is a class, too.
    if annotation in (object, type(None), typing.Any) or issubclass(annotation, _DOCUMENTS):
        return True
    fields: Mapping[str, object] | None = _fields_of(annotation)  # type: ignore[arg-type]
    return fields is not None


@lru_cache(maxsize=4096)
def path_of(owner: type, attribute: str) -> Path:
    """Resolve a dotted path from a pydantic model, a dataclass or a dict.

    Raises:
        UnknownFieldError: the class does not declare a name of the path.
    """
    names = attribute.split(".")
    if issubclass(owner, Mapping):
        return Path((), tuple(names), ANY)
    steps: list[Step] = []
    here: object = owner
    for index, name in enumerate(names):
        fields = _fields_of(here) or {}
        keys = tuple(names[index + 1 :])
        annotation = _unwrap(fields.get(name))
        item = _item_of(annotation)
        here = annotation if item is None else _unwrap(item)
        if name in fields and not keys:
            return Path((*steps, Step(name)), (), type_of(annotation))
        if _fields_of(here) is not None:
            steps.append(Step(name, is_many=item is not None))
        elif name in fields and type_of(annotation).kind is Kind.JSON:
            return Path((*steps, Step(name)), keys, _find_json_type(annotation, keys))
        else:
            raise UnknownFieldError(
                attribute, [".".join((*names[:index], each)) for each in fields]
            )
    raise AssertionError("a path has at least one name")


def _find_json_type(annotation: object, keys: Sequence[str]) -> FieldType:
    """Return the type of the values under the keys of a dict, or of fields of its values."""
    for key in keys:
        annotation = _unwrap(annotation)
        arguments = typing.get_args(annotation)
        origin = typing.get_origin(annotation)
        if isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
            annotation = arguments[1]
        else:
            annotation = (_fields_of(annotation) or {}).get(key, typing.Any)
    found = type_of(annotation)
    value = found.item or found
    return FieldType(Kind.JSON, item=value) if value.kind is Kind.UUID else JSON


@lru_cache(maxsize=1024)
def _fields_of(owner: object) -> Mapping[str, object] | None:
    """Return the annotations of a class by field, or None if it does not have fields."""
    if not _is_class(owner):
        return None
    if issubclass(owner, pydantic.BaseModel):
        return {name: field.annotation for name, field in owner.model_fields.items()}
    if dataclasses.is_dataclass(owner):
        hints = typing.get_type_hints(owner)
        return {field.name: hints[field.name] for field in dataclasses.fields(owner)}
    if issubclass(owner, tuple) or owner.__module__ == "builtins":
        return None
    return typing.get_type_hints(owner) or None


def _is_class(annotation: object) -> typing.TypeGuard[type]:
    # On Python 3.10 list[int] is an instance of type, too.
    return isinstance(annotation, type) and typing.get_origin(annotation) is None


def _unwrap(annotation: typing.Any) -> typing.Any:
    """Remove ``Annotated``, ``NewType``, ``Literal``, type aliases and ``| None``."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # The class is new in Python 3.12.
            annotation = annotation.__value__
        elif origin is typing.Literal:
            types = {type(value) for value in typing.get_args(annotation)}
            return types.pop() if len(types) == 1 else typing.Any
        elif origin in (typing.Union, UnionType):
            others = [part for part in typing.get_args(annotation) if part is not type(None)]
            if len(others) != 1:
                return typing.Any
            annotation = others[0]
        else:
            return _BY_PYDANTIC.get(annotation, annotation)


def _item_of(annotation: object) -> object:
    """Return the element type of a list, a set or a tuple of one type; otherwise None."""
    origin = typing.get_origin(annotation)
    if origin not in _LISTS and not (
        isinstance(origin, type) and origin is not Mapping and issubclass(origin, _LISTS[:4])
    ):
        return None
    arguments = [part for part in typing.get_args(annotation) if part is not Ellipsis]
    return arguments[0] if len(arguments) == 1 else None
