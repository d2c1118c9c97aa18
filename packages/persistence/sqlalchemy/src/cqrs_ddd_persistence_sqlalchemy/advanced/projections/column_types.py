"""Columns of declared fields."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Date, Float, Text, Uuid
from sqlalchemy.types import TypeEngine

from cqrs_ddd_advanced_core.spi.document_fields import DeclaredType

from ...schema.column_types import ExactDecimal, Json, UtcDateTime

TYPES_ON_POSTGRES = {
    str: "text",
    int: "bigint",
    float: "float8",
    bool: "boolean",
    Decimal: "numeric",
    datetime: "timestamptz",
    date: "date",
    UUID: "uuid",
    dict: "jsonb",
    list: "jsonb",
}
"""For the array that brings the values of a column."""


def ordered_text(is_postgres: bool) -> Text:
    """In the order of the ids that all writers keep to, and that of specifications."""
    return Text(collation="C") if is_postgres else Text()


def column_type(field: DeclaredType, is_postgres: bool) -> TypeEngine[Any]:
    if field.kind is str:
        return ordered_text(is_postgres)
    if field.kind is Decimal:
        return ExactDecimal(field.digits, field.places)
    return _COLUMN_TYPES[field.kind]


_COLUMN_TYPES: dict[type[Any], TypeEngine[Any]] = {
    int: BigInteger(),
    float: Float(53),
    bool: Boolean(),
    datetime: UtcDateTime(),
    date: Date(),
    UUID: Uuid(),
    dict: Json,
    list: Json,
}
