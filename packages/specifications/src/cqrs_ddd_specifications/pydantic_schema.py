"""Schemas with which specifications and query options are fields of pydantic models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from pydantic_core import PydanticCustomError, core_schema

from .exceptions import SpecificationError

S = TypeVar("S")
CoreSchema: TypeAlias = core_schema.CoreSchema
JsonSchema: TypeAlias = dict[str, Any]
JsonSchemaHandler: TypeAlias = Callable[[CoreSchema], JsonSchema]
"""Function of pydantic that returns the JSON schema of a core schema."""


def build_schema(
    owner: type[S], read: Callable[[Any], object], write: Callable[[S], object]
) -> CoreSchema:
    """Return a schema that accepts an instance or its JSON form, and writes the JSON form.

    Args:
        owner: class of the field.
        read: returns an instance for untrusted input, or raises ``SpecificationError``.
        write: returns the JSON form of an instance.
    """

    def validate(value: object) -> object:
        if isinstance(value, owner):
            return value
        try:
            found = read(value)
        except SpecificationError as error:
            reason = {"reason": str(error)}
            raise PydanticCustomError("specification_error", "{reason}", reason) from error
        if not isinstance(found, owner):
            expected = {"expected": owner.__name__}
            raise PydanticCustomError(
                "specification_type", "the input is not an instance of {expected}", expected
            )
        return found

    return core_schema.no_info_plain_validator_function(
        validate,
        ref=name_definition(owner),
        serialization=core_schema.plain_serializer_function_ser_schema(write),
    )


def name_definition(owner: type) -> str:
    """Return the name by which the JSON schema of a class refers to itself."""
    return f"{owner.__module__}.{owner.__qualname__}"


def describe_specification(owner: type, *, ref: str | None = None) -> CoreSchema:
    """Return a schema that describes the JSON form of a specification.

    Args:
        owner: class of the field, to which nested specifications refer.
        ref: the name under which the schema is defined, unless the caller defines it.
    """
    nested = core_schema.definition_reference_schema(name_definition(owner))
    parts = core_schema.list_schema(nested)
    text = core_schema.str_schema()
    return core_schema.union_schema(
        [
            _describe_object({"and": parts}),
            _describe_object({"or": parts}),
            _describe_object({"not": nested}),
            _describe_object(
                {"attribute": text, "operator": text}, {"value": core_schema.any_schema()}
            ),
        ],
        ref=ref,
    )


def describe_options(specifications: type, max_limit: int) -> CoreSchema:
    """Return a schema that describes the JSON form of query options."""
    names = core_schema.list_schema(core_schema.str_schema())
    where = describe_specification(specifications, ref=name_definition(specifications))
    return _describe_object(
        {},
        {
            "where": where,
            "order_by": names,
            "limit": core_schema.int_schema(ge=0, le=max_limit),
            "offset": core_schema.int_schema(ge=0),
            "after": core_schema.list_schema(core_schema.any_schema()),
            "select": names,
            "distinct": core_schema.bool_schema(),
        },
    )


def _describe_object(
    required: Mapping[str, CoreSchema], optional: Mapping[str, CoreSchema] | None = None
) -> CoreSchema:
    fields = {
        name: core_schema.typed_dict_field(schema, required=name in required)
        for name, schema in {**required, **(optional or {})}.items()
    }
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid")
