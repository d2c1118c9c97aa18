"""Paths and operands of specifications on an aggregate, mapped to its model."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from cqrs_ddd_specifications import coercion, exceptions, field_types, operators

from .field_mapping import ColumnField, Field, PartsField
from .relations import Relation

_TEXT_IN_JSON = (
    field_types.Kind.DECIMAL,
    field_types.Kind.DATETIME,
    field_types.Kind.DATE,
    field_types.Kind.TIME,
    field_types.Kind.BYTES,
)


def map_path(
    owner: type[BaseModel],
    fields: Mapping[str, Field],
    relations: Mapping[str, Relation],
    path: str,
) -> str:
    """Return the path of the model for a path of ``owner``.

    Raises:
        UnknownFieldError: if there is no such field.
        UnsupportedOperatorError: if the field cannot be searched by.
    """
    target = field_types.path_of(owner, path)
    first, _, rest = path.partition(".")
    if first in relations:
        relation = relations[first]
        if not rest:
            raise _part_error(path, [f"{first}.{name}" for name in relation.fields])
        return f"{relation.attribute}.{map_path(relation.item_type, relation.fields, {}, rest)}"
    here = fields
    names = path.split(".")
    for index, name in enumerate(names):
        field = here.get(name)
        if field is None:
            raise exceptions.UnknownFieldError(path, [*here])
        if isinstance(field, ColumnField):
            keys = names[index + 1 :]
            stored = target.type.item or target.type
            if field.is_json and stored.kind in _TEXT_IN_JSON:
                raise exceptions.UnsupportedOperatorError(
                    f"{path} holds {stored.kind.value}, kept as text in JSON, where it compares "
                    "otherwise; map it to a column of its own"
                )
            if keys and not field.is_json:
                raise exceptions.UnknownFieldError(path, [".".join(names[: index + 1])])
            return ".".join((field.attribute, *keys))
        here = field.parts
    raise _part_error(path, [f"{path}.{name}" for name in here])


def encode_operand(
    owner: type[BaseModel],
    fields: Mapping[str, Field],
    relations: Mapping[str, Relation],
    path: str,
    operator: operators.Operator,
    value: object,
) -> object:
    """Return the operand as the column stores it, raising ``SpecificationError`` as memory does.

    The field decides which operators apply, not the column: an enum stored as a number has no
    order.
    """
    field_type = field_types.path_of(owner, path).type
    given = coercion.coerce(operator, value, field_type, path)
    first, _, rest = path.partition(".")
    if first in relations:
        relation = relations[first]
        return encode_operand(relation.item_type, relation.fields, {}, rest, operator, value)
    field: Field | None = None
    for name in path.split("."):
        field = (field.parts if isinstance(field, PartsField) else fields).get(name)
        if isinstance(field, ColumnField):
            break
    if field_type.kind in (field_types.Kind.ARRAY, field_types.Kind.JSON) or not isinstance(
        field, ColumnField
    ):
        return value
    if field.encode is None or field.is_json:
        return value
    encode = field.encode
    if operator.takes in (operators.Takes.LIST, operators.Takes.RANGE):
        return [None if each is None else encode(each) for each in given]
    if operator.takes is operators.Takes.VALUE and given is not None:
        return encode(given)
    return value


def _part_error(path: str, parts: list[str]) -> exceptions.UnsupportedOperatorError:
    return exceptions.UnsupportedOperatorError(
        f"{path} has no column as a whole; ask for {', '.join(parts)}"
    )
