"""Encoders from field values to column values, chosen once from the types of both."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NewType, Union, get_args, get_origin

import pydantic
import sqlalchemy as sa
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError

from cqrs_ddd_core import ConfigError, SerializationError

from ..schema.column_types import ColumnType
from .lossy_columns import find_loss, find_value_type

Encode = Callable[[Any], Any]
"""Function from a field value to a column value; it is not called for None."""

_NOT_AS_TEXT = (Decimal, date, time, timedelta, int, float)
"""Types with values that sort in another order as text."""


def choose_encoder(field: FieldInfo, column: sa.Column[Any]) -> Encode | None:
    """Return the encoder of a field, or None if the column stores the value as it is.

    Raises:
        ConfigError: the column would change values of the field.
    """
    kinds, stored = set(list_kinds(field.annotation)), column.type
    if isinstance(stored, sa.JSON):
        return _encode_as_json(field)
    if len(kinds) == 1 and issubclass(kind := next(iter(kinds)), RootModel):
        return _encode_root(choose_encoder(kind.model_fields["root"], column))
    if isinstance(stored, sa.ARRAY):
        return _encode_as_json(field) if _is_text(stored.item_type) else list
    if isinstance(stored, (sa.TypeDecorator, sa.Enum)):
        return None
    problem = _find_problem(kinds, stored)
    if problem is not None:
        raise ConfigError(problem)
    if any(issubclass(kind, Enum) for kind in kinds):
        return _encode_enum
    if _is_text(stored) and not kinds <= {str}:
        return _encode_as_json(field)
    return None


def list_kinds(annotation: object) -> Iterator[type]:
    """Yield the classes that a value may have, except the class of None; for a list, ``list``."""
    annotation = _unwrap(annotation)
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from list_kinds(part)
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


def _find_problem(kinds: Collection[type], stored: ColumnType) -> str | None:
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    for kind in sorted(kinds, key=lambda each: each.__name__):
        if (loss := find_loss(kind, stored)) is not None:
            return f"{stored!r} {loss}"
    if any(map(_is_composite, kinds)):
        return f"{stored!r} cannot hold {names}; use Json"
    plain = [find_value_type(kind) for kind in kinds if not issubclass(kind, Enum)]
    if _is_text(stored) and any(issubclass(kind, _NOT_AS_TEXT) for kind in plain):
        return f"{stored!r} would sort {names} as text; use a column of its own type"
    return None


def _is_composite(kind: type) -> bool:
    parts = (BaseModel, Mapping, list, tuple, set, frozenset)
    return issubclass(kind, parts) or is_dataclass(kind)


def _encode_root(encode: Encode | None) -> Encode:
    if encode is None:
        return lambda value: value.root
    inner = encode
    return lambda value: inner(value.root)


def _encode_enum(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _encode_as_json(field: FieldInfo) -> Encode:
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated.__class_getitem__((annotation, *field.metadata))  # type: ignore[attr-defined]
    try:
        dump = pydantic.TypeAdapter(annotation).dump_python
    except (pydantic.PydanticSchemaGenerationError, pydantic.PydanticUserError) as error:
        raise ConfigError(f"pydantic cannot write {annotation!r} as JSON: {error}") from error

    def encode(value: Any) -> Any:
        try:
            return dump(value, mode="json", warnings="error")
        except PydanticSerializationError as error:
            raise SerializationError(
                f"{value!r} is not of the declared type {annotation!r}: {error}; "
                "give the field a value of its type",
                type_name=type(value).__name__,
            ) from error

    return encode
