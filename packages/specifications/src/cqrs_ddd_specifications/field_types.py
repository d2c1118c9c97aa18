"""What kind of values a field holds, read from the annotations of its class."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    EmailStr,
    FutureDate,
    FutureDatetime,
    NaiveDatetime,
    PastDate,
    PastDatetime,
)

from .exceptions import UnknownFieldError


class Kind(Enum):
    """Fields of one kind compare alike in every world."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATETIME = "date and time"
    DATE = "date"
    TIME = "time"
    UUID = "UUID"
    ENUM = "enum"
    BYTES = "bytes"
    ARRAY = "array"
    JSON = "JSON"
    ANY = "of no declared type"
    """What a dict holds: two values of unlike kinds are never equal, and neither is less."""


@dataclass(frozen=True)
class FieldType:
    kind: Kind
    enum: type[Enum] | None = None
    item: FieldType | None = None
    """Of what an array holds."""


@dataclass(frozen=True)
class Step:
    """One name in a dotted path; ``is_many`` where a list stands there, each element counts."""

    name: str
    is_many: bool = False


@dataclass(frozen=True)
class Path:
    """A dotted path through a class: steps from object to object, then keys into JSON."""

    steps: tuple[Step, ...]
    keys: tuple[str, ...]
    type: FieldType


ANY = FieldType(Kind.ANY)
JSON = FieldType(Kind.JSON)

_KINDS: tuple[tuple[type, Kind], ...] = (
    (bool, Kind.BOOLEAN),
    (int, Kind.INTEGER),
    (float, Kind.FLOAT),
    (Decimal, Kind.DECIMAL),
    (str, Kind.TEXT),
    (datetime, Kind.DATETIME),
    (date, Kind.DATE),
    (time, Kind.TIME),
    (UUID, Kind.UUID),
    (bytes, Kind.BYTES),
)
# Classes of their own at run time.
_BY_PYDANTIC: dict[Any, type] = {
    **dict.fromkeys((AwareDatetime, FutureDatetime, NaiveDatetime, PastDatetime), datetime),
    **dict.fromkeys((FutureDate, PastDate), date),
    EmailStr: str,
}
_LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)


def type_of(annotation: Any) -> FieldType:
    """The type of a field with this annotation; what is no plain value is JSON."""
    annotation = _bare(annotation)
    if isinstance(annotation, TypeVar):
        return ANY
    if _is_class(annotation):
        if issubclass(annotation, Enum):
            return FieldType(Kind.ENUM, enum=annotation)
        for python_type, kind in _KINDS:
            if issubclass(annotation, python_type):
                return FieldType(kind)
    if (item := _item_of(annotation)) is not None:
        of_item = type_of(item)
        return (
            JSON if of_item.kind in (Kind.JSON, Kind.ARRAY) else FieldType(Kind.ARRAY, item=of_item)
        )
    return JSON


@lru_cache(maxsize=4096)
def path_of(owner: type, attribute: str) -> Path:
    """Where a dotted path leads from ``owner``: a pydantic model, a dataclass, or a dict.

    Raises ``UnknownFieldError`` for what the class does not declare.
    """
    names = attribute.split(".")
    if issubclass(owner, Mapping):
        return Path((), tuple(names), ANY)
    steps: list[Step] = []
    here: Any = owner
    for index, name in enumerate(names):
        fields = _fields(here)
        if fields is None or name not in fields:
            raise UnknownFieldError(attribute, _paths_beside(names[:index], fields or ()))
        annotation = _bare(fields[name])
        rest = tuple(names[index + 1 :])
        item = _item_of(annotation)
        if not rest:
            return Path((*steps, Step(name)), (), type_of(annotation))
        inner = annotation if item is None else _bare(item)
        if _fields(inner) is not None:
            steps.append(Step(name, is_many=item is not None))
            here = inner
        elif type_of(annotation).kind is Kind.JSON:
            return Path((*steps, Step(name)), rest, JSON)
        else:
            raise UnknownFieldError(attribute, _paths_beside(names[:index], fields))
    raise AssertionError("a path has at least one name")


@lru_cache(maxsize=1024)
def _fields(owner: Any) -> Mapping[str, Any] | None:
    """Field and annotation; None for what has no fields of its own."""
    if not _is_class(owner):
        return None
    if issubclass(owner, BaseModel):
        return {name: field.annotation for name, field in owner.model_fields.items()}
    if dataclasses.is_dataclass(owner):
        hints = get_type_hints(owner)
        return {field.name: hints[field.name] for field in dataclasses.fields(owner)}
    if issubclass(owner, tuple) or owner.__module__ == "builtins":
        return None
    hints = get_type_hints(owner)
    return hints or None


def _is_class(annotation: Any) -> bool:
    # Python 3.10 says of list[int], too, that it is a type.
    return isinstance(annotation, type) and get_origin(annotation) is None


def _bare(annotation: Any) -> Any:
    """Without ``Annotated``, ``NewType`` and ``Literal``, and without ``| None``."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # Python 3.12 has the class.
            annotation = annotation.__value__
        elif origin is Literal:
            of_values = {type(value) for value in get_args(annotation)}
            return of_values.pop() if len(of_values) == 1 else Any
        elif origin in (Union, types.UnionType):
            others = [part for part in get_args(annotation) if part is not type(None)]
            if len(others) != 1:
                return Any
            annotation = others[0]
        else:
            return _BY_PYDANTIC.get(annotation, annotation)


def _item_of(annotation: Any) -> Any:
    """What a list, a tuple of one type or a set holds; None for anything else."""
    origin = get_origin(annotation)
    if origin not in _LISTS and not (
        isinstance(origin, type) and origin is not Mapping and issubclass(origin, _LISTS[:4])
    ):
        return None
    arguments = [part for part in get_args(annotation) if part is not Ellipsis]
    return arguments[0] if len(arguments) == 1 else None


def _paths_beside(before: Sequence[str], fields: Iterable[str]) -> list[str]:
    return [".".join((*before, name)) for name in fields]
