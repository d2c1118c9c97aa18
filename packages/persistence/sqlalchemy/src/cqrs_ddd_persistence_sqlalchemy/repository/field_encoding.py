"""What a column is given for the value of a field, decided once from their types."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NewType, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    PydanticSchemaGenerationError,
    PydanticUserError,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    DateTime,
    Float,
    Numeric,
    String,
    Time,
    TypeDecorator,
)
from sqlalchemy import Enum as EnumType
from sqlalchemy.types import TypeEngine

from cqrs_ddd_core.primitives.exceptions import ConfigError, SerializationError

from .lossy_columns import loss_in, meant

Encode = Callable[[Any], Any]
"""Of a value that is not None."""

_NOT_AS_TEXT = (Decimal, date, time, timedelta, int, float)
"""Their texts sort otherwise."""
_DIGITS_OF_A_FLOAT = 15


def encoder_of(field: FieldInfo, column: Column[Any]) -> Encode | None:
    """None for a value that the column takes as it is.

    Raises ``ConfigError`` where the column would keep something else.
    """
    kinds, kept = set(kinds_of(field.annotation)), column.type
    if isinstance(kept, JSON):
        return _json_form(field)
    if len(kinds) == 1 and issubclass(kind := next(iter(kinds)), RootModel):
        return _of_root(encoder_of(kind.model_fields["root"], column))
    if isinstance(kept, ARRAY):
        return _json_form(field) if _is_text(kept.item_type) else list
    if isinstance(kept, (TypeDecorator, EnumType)):
        return None
    problem = _problem_of(kinds, kept)
    if problem is not None:
        raise ConfigError(problem)
    if any(issubclass(kind, Enum) for kind in kinds):
        return _value_of
    if _is_text(kept) and not kinds <= {str}:
        return _json_form(field)
    return None


def problem_on_sqlite(column: Column[Any]) -> str | None:
    """Why SQLite would give back something else than it got."""
    kept = column.type
    if isinstance(kept, (DateTime, Time)) and kept.timezone:
        return f"{column.name} is {kept!r}, of which SQLite forgets the zone; use UtcDateTime"
    if not isinstance(kept, Numeric) or isinstance(kept, Float) or not kept.asdecimal:
        return None
    if kept.precision is not None and kept.precision <= _DIGITS_OF_A_FLOAT:
        return None
    return (
        f"{column.name} is {kept!r}, which SQLite keeps as a float of {_DIGITS_OF_A_FLOAT} digits; "
        "use ExactDecimal"
    )


def kinds_of(annotation: Any) -> Iterator[type[Any]]:
    """The classes that a value may have; of a list, ``list``; None is left out."""
    annotation = _bare(annotation)
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from kinds_of(part)
    elif isinstance(kind := origin or annotation, type) and kind is not type(None):
        yield kind


def may_be_none(annotation: Any) -> bool:
    annotation = _bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(may_be_none, get_args(annotation)))
    return annotation is None or annotation is type(None) or annotation is Any


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The one pydantic model that a value is, where it is not None."""
    kinds = list(kinds_of(annotation))
    is_one = len(kinds) == 1 and issubclass(kinds[0], BaseModel)
    return kinds[0] if is_one and not issubclass(kinds[0], RootModel) else None


def item_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model that a list or a tuple of any length holds."""
    annotation = _bare(annotation)
    if get_origin(annotation) not in (list, tuple):
        return None
    items = [part for part in get_args(annotation) if part is not Ellipsis]
    return model_in(items[0]) if len(items) == 1 else None


def models_within(annotation: Any, seen: set[Any] | None = None) -> Iterator[type[BaseModel]]:
    """Every pydantic model in it, however deep it lies in lists, unions and other models."""
    seen = set() if seen is None else seen
    annotation = _bare(annotation)
    # On Python 3.10 list[int] says that it is a class.
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
            yield from models_within(field.annotation, seen)
    for part in get_args(annotation):
        yield from models_within(part, seen)


def has_secret(annotation: Any) -> bool:
    """Whether a secret of pydantic is in it; other models are not looked into."""
    annotation = _bare(annotation)
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (SecretStr, SecretBytes, Secret)):
        return True
    return any(map(has_secret, get_args(annotation)))


def _bare(annotation: Any) -> Any:
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # Python 3.12 has the class.
            annotation = annotation.__value__
        else:
            return annotation


def _is_text(kept: TypeEngine[Any]) -> bool:
    return isinstance(kept, String) and not isinstance(kept, EnumType)


def _problem_of(kinds: Collection[type[Any]], kept: TypeEngine[Any]) -> str | None:
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    for kind in sorted(kinds, key=lambda each: each.__name__):
        if (loss := loss_in(kind, kept)) is not None:
            return f"{kept!r} {loss}"
    if any(map(_is_composed, kinds)):
        return f"{kept!r} cannot hold {names}; use Json"
    plain = [meant(kind) for kind in kinds if not issubclass(kind, Enum)]
    if _is_text(kept) and any(issubclass(kind, _NOT_AS_TEXT) for kind in plain):
        return f"{kept!r} would sort {names} as text; use a column of its own type"
    return None


def _is_composed(kind: type[Any]) -> bool:
    parts = (BaseModel, Mapping, list, tuple, set, frozenset)
    return issubclass(kind, parts) or is_dataclass(kind)


def _of_root(encode: Encode | None) -> Encode:
    if encode is None:
        return lambda value: value.root
    inner = encode
    return lambda value: inner(value.root)


def _value_of(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _json_form(field: FieldInfo) -> Encode:
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated.__class_getitem__((annotation, *field.metadata))  # type: ignore[attr-defined]
    try:
        dump = TypeAdapter(annotation).dump_python
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise ConfigError(f"pydantic cannot write {annotation!r} as JSON: {error}") from error

    def encode(value: Any) -> Any:
        try:
            return dump(value, mode="json", warnings="error")
        except PydanticSerializationError as error:
            raise SerializationError(
                f"{value!r} is not the {annotation!r} that was declared: {error}; "
                "give the field a value of its type",
                type_name=type(value).__name__,
            ) from error

    return encode
