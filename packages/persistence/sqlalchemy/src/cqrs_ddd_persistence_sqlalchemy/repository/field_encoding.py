"""Encoders from field values to column values, chosen once from the types of both."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
)
from uuid import UUID

import pydantic
import sqlalchemy as sa
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from cqrs_ddd_core import ConfigError, SerializationError
from cqrs_ddd_core.primitives.json_form import JsonForm

from ..schema.column_types import ColumnType, UtcDateTime
from . import lossy_columns

Convert = Callable[[Any], Any]
"""Function from a field value to a column value, or back; it is not called for None."""

_NOT_AS_TEXT = (Decimal, date, time, timedelta, int, float)
"""Types with values that sort in another order as text."""
_read_uuid = pydantic.TypeAdapter(UUID).validator.validate_python


class ColumnValueError(ValueError):
    """Error for a value of a column that its field cannot have; the text omits the value."""


class Encoding(NamedTuple):
    """Conversion between the values of a field and of its column; None leaves them as they are.

    Attributes:
        encode: converts a field value to a column value.
        decode: converts a column value to a field value.
        losses: reason why each database would change values, for databases that would.
    """

    encode: Convert | None = None
    decode: Convert | None = None
    losses: Mapping[str, str] = MappingProxyType({})


def choose_encoding(name: str, field: FieldInfo, column: sa.Column[Any]) -> Encoding:
    """Return the encoding of a field.

    Args:
        name: class and name of the field, for errors.
        field: the field.
        column: column that stores it.

    Raises:
        ConfigError: the column would change values of the field on every database.
    """
    kinds, stored = set(list_kinds(field.annotation)), column.type
    if isinstance(stored, sa.JSON):
        return _choose_json(name, field)
    if len(kinds) == 1 and issubclass(kind := next(iter(kinds)), RootModel):
        inner = choose_encoding(name, kind.model_fields["root"], column)
        return inner._replace(encode=_encode_root(inner.encode))
    if isinstance(stored, sa.ARRAY):
        return _choose_array(name, field, kinds, stored)
    if lossy_columns.is_custom(stored):
        reads_infinity = isinstance(stored, UtcDateTime) and datetime in kinds
        return Encoding(decode=_ensure_finite if reads_infinity else None)
    losses = _ensure_kept(kinds, stored)
    if isinstance(stored, sa.Enum) and stored.enum_class is not None:
        return Encoding(losses=losses)
    if any(issubclass(kind, Enum) for kind in kinds):
        if len(kinds) > 1:  # A member and a plain value may be stored alike.
            return _choose_json(name, field)._replace(losses=losses)
        return Encoding(_encode_enum, losses=losses)
    if _is_text(stored) and not kinds <= {str, object}:
        return _choose_json(name, field)._replace(losses=losses)
    return Encoding(decode=_choose_decoder(stored, kinds), losses=losses)


def list_kinds(annotation: object) -> Iterator[type]:
    """Yield the classes that a value may have, except that of None: for a list ``list``.

    A value of any class yields ``object``.
    """
    annotation = _unwrap(annotation)
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from list_kinds(part)
    elif origin is Literal:
        yield from (type(each) for each in get_args(annotation) if each is not None)
    elif annotation is Any or isinstance(annotation, TypeVar):
        yield object
    elif isinstance(kind := origin or annotation, type) and kind is not type(None):
        yield kind


def allows_none(annotation: object) -> bool:
    """Return whether a value of the annotation may be None."""
    annotation = _unwrap(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(allows_none, get_args(annotation)))
    return annotation is None or annotation is type(None) or annotation is Any


def find_model(annotation: object) -> type[BaseModel] | None:
    """Return the pydantic model of all values other than None, if there is exactly one."""
    kinds = list(list_kinds(annotation))
    if len(kinds) == 1 and issubclass(kind := kinds[0], BaseModel):
        return None if issubclass(kind, RootModel) else kind
    return None


def find_item_model(annotation: object) -> type[BaseModel] | None:
    """Return the pydantic model of the items of a list, or of a tuple of any length."""
    annotation = _unwrap(annotation)
    if get_origin(annotation) not in (list, tuple):
        return None
    items = [part for part in get_args(annotation) if part is not Ellipsis]
    return find_model(items[0]) if len(items) == 1 else None


def walk_models(annotation: object, seen: set[object] | None = None) -> Iterator[type[BaseModel]]:
    """Yield every pydantic model in lists, unions and other models of the annotation."""
    seen = set() if seen is None else seen
    annotation = _unwrap(annotation)
    # On Python 3.10 list[int] is an instance of type.
    if (
        not get_args(annotation)
        and isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
    ):
        if annotation in seen:
            return
        seen.add(annotation)
        yield annotation
        for field in annotation.model_fields.values():
            yield from walk_models(field.annotation, seen)
    for part in get_args(annotation):
        yield from walk_models(part, seen)


def has_secret(annotation: object) -> bool:
    """Return whether a value may be a pydantic secret; fields of models are not searched."""
    annotation = _unwrap(annotation)
    kind = get_origin(annotation) or annotation
    secrets = (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)
    if isinstance(kind, type) and issubclass(kind, secrets):
        return True
    return any(map(has_secret, get_args(annotation)))


def _unwrap(annotation: Any) -> Any:
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # The class is new in Python 3.12.
            annotation = annotation.__value__
        else:
            return annotation


def _is_text(stored: ColumnType) -> bool:
    return isinstance(stored, sa.String) and not isinstance(stored, sa.Enum)


def _ensure_kept(kinds: Collection[type], stored: ColumnType) -> Mapping[str, str]:
    """Return the loss on each database, raising ``ConfigError`` if all of them have one."""
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    if any(map(_is_composite, kinds)):
        raise ConfigError(f"{stored!r} cannot hold {names}; use Json")
    held = set(kinds if isinstance(stored, sa.Enum) else _list_stored_kinds(kinds))
    losses = lossy_columns.find_losses(held, stored)
    if len(losses) == len(lossy_columns.DIALECTS):
        raise ConfigError(f"{stored!r} {next(iter(losses.values()))}")
    plain = [lossy_columns.find_value_type(kind) for kind in held]
    if _is_text(stored) and any(issubclass(kind, _NOT_AS_TEXT) for kind in plain):
        raise ConfigError(f"{stored!r} would sort {names} as text; use a column of its own type")
    return losses


def _list_stored_kinds(kinds: Collection[type]) -> Iterator[type]:
    """Yield the classes of column values: for an enum, the classes of its members' values."""
    for kind in kinds:
        if issubclass(kind, Enum):
            yield from (type(member.value) for member in kind)
        else:
            yield kind


def _is_composite(kind: type) -> bool:
    return issubclass(kind, (BaseModel, Mapping)) or is_dataclass(kind) or _is_list(kind)


def _is_list(kind: type) -> bool:
    return issubclass(kind, (Sequence, Set)) and not issubclass(kind, (str, bytes, bytearray))


def _encode_root(encode: Convert | None) -> Convert:
    if encode is None:
        return lambda value: value.root
    inner = encode
    return lambda value: inner(value.root)


def _encode_enum(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _choose_decoder(stored: ColumnType, kinds: Collection[type]) -> Convert | None:
    if isinstance(stored, sa.DateTime) and stored.timezone and datetime in kinds:
        return _ensure_finite
    return _to_standard_uuid if isinstance(stored, sa.Uuid) and stored.as_uuid else None


def _ensure_finite(value: datetime) -> datetime:
    """Return a datetime with a zone, which asyncpg omits for the infinity of PostgreSQL."""
    if value.tzinfo is None:
        raise ColumnValueError(
            "infinity cannot be read as a datetime; use NULL for an unlimited time"
        )
    return value


def _to_standard_uuid(value: UUID) -> UUID:
    """Return a plain UUID for one of asyncpg's own class, which other libraries reject."""
    # Pydantic takes a third of the time of the constructor.
    return value if value.__class__ is UUID else _read_uuid(value.bytes)


def _to_standard_uuids(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_to_standard_uuids, value))
    return value if value is None else _to_standard_uuid(value)


def _choose_json(name: str, field: FieldInfo) -> Encoding:
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated.__class_getitem__((annotation, *field.metadata))  # type: ignore[attr-defined]
    try:
        form: JsonForm[Any] = JsonForm(annotation, name)
    except (pydantic.PydanticSchemaGenerationError, SerializationError) as error:
        raise ConfigError(f"pydantic cannot write {annotation!r} as JSON: {error}") from error
    return Encoding(form.write, None if form.is_plain else form.read)


def _choose_array(
    name: str, field: FieldInfo, kinds: Collection[type], stored: sa.ARRAY[Any]
) -> Encoding:
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    if not kinds or not all(map(_is_list, kinds)):
        raise ConfigError(f"{stored!r} stores a list and not {names}; use Json")
    if _is_text(stored.item_type):
        return _choose_json(name, field)
    items = set(_list_item_kinds(field.annotation))
    losses = _ensure_kept(items, stored.item_type)
    is_uuid = _choose_decoder(stored.item_type, items) is _to_standard_uuid
    return Encoding(list, _to_standard_uuids if is_uuid else None, losses)


def _list_item_kinds(annotation: object) -> Iterator[type]:
    for part in get_args(_unwrap(annotation)):
        for kind in list_kinds(part):
            yield from _list_item_kinds(part) if _is_list(kind) else (kind,)
