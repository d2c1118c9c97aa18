from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar, Union
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, EmailStr, Field, PastDate

from cqrs_ddd_core.domain.mixins import AuditableMixin
from cqrs_ddd_specifications.exceptions import UnknownFieldError
from cqrs_ddd_specifications.field_types import ANY, JSON, FieldType, Kind, Step, path_of, type_of

ItemId = NewType("ItemId", UUID)
T = TypeVar("T")


class Color(str, Enum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


@dataclass
class Place:
    city: str
    number: int | None = None


class Line(BaseModel):
    code: str
    grams: int | None = None
    place: Place | None = None


class Order(BaseModel):
    number: int
    place: Place | None = None
    lines: list[Line] = []
    by_code: dict[str, Line] = {}
    data: dict[str, Any] | None = None
    note: Annotated[str | None, Field(max_length=10)] = None
    tags: list[str] = []
    color: Color = Color.RED


class Page(BaseModel, Generic[T]):
    item: T


class Plain:
    """Class with annotations only."""

    name: str
    size: int

    def __init__(self, name: str) -> None:
        self.name = name


TEXT, INTEGER = FieldType(Kind.TEXT), FieldType(Kind.INTEGER)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, Kind.TEXT),
        (int, Kind.INTEGER),
        (bool, Kind.BOOLEAN),
        (float, Kind.FLOAT),
        (Decimal, Kind.DECIMAL),
        (datetime, Kind.DATETIME),
        (date, Kind.DATE),
        (time, Kind.TIME),
        (UUID, Kind.UUID),
        (bytes, Kind.BYTES),
        (Color, Kind.ENUM),
        (Size, Kind.ENUM),
        (AwareDatetime, Kind.DATETIME),
        (PastDate, Kind.DATE),
        (EmailStr, Kind.TEXT),
        (ItemId, Kind.UUID),
        (Literal["a", "b"], Kind.TEXT),
        (Literal[1, 2], Kind.INTEGER),
        (Literal[1, "a"], Kind.JSON),
        (Any, Kind.JSON),
        (dict[str, int], Kind.JSON),
        (Mapping[str, int], Kind.JSON),
        (int | str, Kind.JSON),
        (timedelta, Kind.DURATION),
        (IPv4Address, Kind.OTHER),
        (list[IPv4Address], Kind.OTHER),
        (complex, Kind.OTHER),
        (Path, Kind.OTHER),
        (object, Kind.JSON),
        (Place, Kind.JSON),
        (list[Place], Kind.JSON),
        (list[list[int]], Kind.JSON),
        (list[dict[str, int]], Kind.JSON),
        (tuple[int, str], Kind.JSON),
        (list, Kind.JSON),
        (T, Kind.ANY),
    ],
)
def test_field_kind_follows_from_the_annotation(annotation: Any, kind: Kind) -> None:
    assert type_of(annotation).kind is kind


@pytest.mark.parametrize(
    "annotation",
    [
        int | None,
        Optional[int],  # noqa: UP045 - both spellings are in use
        Union[int, None],  # noqa: UP007
        Annotated[int, "note"],
        Annotated[int | None, "note"],
        Optional[Annotated[int, "note"]],  # noqa: UP045
    ],
)
def test_optional_and_annotated_types_have_the_kind_of_the_inner_type(annotation: Any) -> None:
    assert type_of(annotation) == INTEGER


@pytest.mark.parametrize(
    "annotation",
    [
        list[int],
        list[int | None],
        tuple[int, ...],
        set[int],
        frozenset[int],
        Sequence[int],
        Collection[int],
        Iterable[int],
        list[int] | None,
    ],
)
def test_array_field_has_the_type_of_its_items(annotation: Any) -> None:
    assert type_of(annotation) == FieldType(Kind.ARRAY, item=INTEGER)


def test_enum_field_keeps_its_enum_class() -> None:
    assert type_of(Color | None) == FieldType(Kind.ENUM, enum=Color)


@pytest.mark.parametrize(
    ("attribute", "steps", "keys", "field_type"),
    [
        ("number", (Step("number"),), (), INTEGER),
        ("note", (Step("note"),), (), TEXT),
        ("place", (Step("place"),), (), JSON),
        ("place.city", (Step("place"), Step("city")), (), TEXT),
        ("place.number", (Step("place"), Step("number")), (), INTEGER),
        ("lines", (Step("lines"),), (), JSON),
        ("lines.code", (Step("lines", is_many=True), Step("code")), (), TEXT),
        (
            "lines.place.city",
            (Step("lines", is_many=True), Step("place"), Step("city")),
            (),
            TEXT,
        ),
        ("data", (Step("data"),), (), JSON),
        ("data.a.b", (Step("data"),), ("a", "b"), JSON),
        ("data.__class__", (Step("data"),), ("__class__",), JSON),
        ("by_code.x.grams", (Step("by_code"),), ("x", "grams"), JSON),
    ],
)
def test_attribute_path_follows_declared_fields(
    attribute: str, steps: tuple[Step, ...], keys: tuple[str, ...], field_type: FieldType
) -> None:
    path = path_of(Order, attribute)

    assert (path.steps, path.keys, path.type) == (steps, keys, field_type)


def test_attribute_path_of_a_dict_consists_of_keys() -> None:
    path = path_of(dict, "a.b")

    assert (path.steps, path.keys, path.type) == ((), ("a", "b"), ANY)


@pytest.mark.parametrize(
    "attribute",
    [
        "missing",
        "__class__",
        "__dict__",
        "place.__class__",
        "place.missing",
        "number.real",
        "note.__len__",
        "tags.a",
        "color.value",
        "color._value_",
        "lines.code.upper",
        "lines.append",
        "model_fields",
        "model_config",
        "model_dump",
    ],
)
def test_attribute_path_to_an_undeclared_attribute_is_rejected(attribute: str) -> None:
    with pytest.raises(UnknownFieldError):
        path_of(Order, attribute)


def test_unknown_field_error_names_similar_fields() -> None:
    with pytest.raises(UnknownFieldError) as caught:
        path_of(Order, "place.citty")

    assert caught.value.near == ("place.city",)
    assert str(caught.value) == ("unknown field 'place.citty'; did you mean 'place.city'?")


def test_plain_class_with_annotations_has_field_types() -> None:
    assert path_of(Plain, "name").type == TEXT


@pytest.mark.parametrize("owner", [int, str, object, type(None), tuple])
def test_attribute_path_into_a_type_without_fields_is_rejected(owner: type) -> None:
    with pytest.raises(UnknownFieldError):
        path_of(owner, "real")


def test_field_of_a_generic_model_has_the_type_argument() -> None:
    assert path_of(Page[int], "item").type == INTEGER
    assert path_of(Page, "item").type == ANY


def test_created_at_of_an_auditable_aggregate_is_a_datetime_field() -> None:
    assert path_of(AuditableMixin, "created_at").type.kind is Kind.DATETIME
