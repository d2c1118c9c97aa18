"""From a path through an aggregate to one through its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from cqrs_ddd_specifications.coercion import coerce
from cqrs_ddd_specifications.exceptions import UnknownFieldError, UnsupportedOperatorError
from cqrs_ddd_specifications.field_types import Kind, path_of
from cqrs_ddd_specifications.operators import Operator, Takes

from .field_mapping import ColumnField, Field, PartsField
from .relations import Relation

_TEXT_IN_JSON = (Kind.DECIMAL, Kind.DATETIME, Kind.DATE, Kind.TIME, Kind.BYTES)


def model_path(
    owner: type[BaseModel],
    fields: Mapping[str, Field],
    relations: Mapping[str, Relation],
    path: str,
) -> str:
    """The path of the model for a path of ``owner``; raises ``UnknownFieldError``.

    Raises ``UnsupportedOperatorError`` for what is there, but cannot be asked for.
    """
    asked = path_of(owner, path)
    first, _, rest = path.partition(".")
    if first in relations:
        relation = relations[first]
        if not rest:
            raise _whole(path, [f"{first}.{name}" for name in relation.fields])
        return f"{relation.attribute}.{model_path(relation.item_type, relation.fields, {}, rest)}"
    here = fields
    names = path.split(".")
    for index, name in enumerate(names):
        field = here.get(name)
        if field is None:
            raise UnknownFieldError(path, [*here])
        if isinstance(field, ColumnField):
            keys = names[index + 1 :]
            kept = asked.type.item or asked.type
            if field.is_json and kept.kind in _TEXT_IN_JSON:
                raise UnsupportedOperatorError(
                    f"{path} holds {kept.kind.value}, kept as text in JSON, where it compares "
                    "otherwise; map it to a column of its own"
                )
            if keys and not field.is_json:
                raise UnknownFieldError(path, [".".join(names[: index + 1])])
            return ".".join((field.attribute, *keys))
        here = field.parts
    raise _whole(path, [f"{path}.{name}" for name in here])


def stored_value(
    owner: type[BaseModel],
    fields: Mapping[str, Field],
    relations: Mapping[str, Relation],
    path: str,
    operator: Operator,
    value: Any,
) -> Any:
    """What the column holds for a value of the field; raises ``SpecificationError`` as memory does.

    The field decides what may be asked, not the column: an enum that is kept as a number has no
    order.
    """
    field_type = path_of(owner, path).type
    given = coerce(operator, value, field_type, path)
    first, _, rest = path.partition(".")
    if first in relations:
        relation = relations[first]
        return stored_value(relation.item_type, relation.fields, {}, rest, operator, value)
    field: Field | None = None
    for name in path.split("."):
        field = (field.parts if isinstance(field, PartsField) else fields).get(name)
        if isinstance(field, ColumnField):
            break
    if field_type.kind in (Kind.ARRAY, Kind.JSON) or not isinstance(field, ColumnField):
        return value
    if field.encode is None or field.is_json:
        return value
    encode = field.encode
    if operator.takes in (Takes.LIST, Takes.RANGE):
        return [None if each is None else encode(each) for each in given]
    if operator.takes is Takes.VALUE and given is not None:
        return encode(given)
    return value


def _whole(path: str, parts: list[str]) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(f"{path} has no column as a whole; ask for {', '.join(parts)}")
