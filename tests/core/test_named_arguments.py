from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from pydantic import AliasChoices, AliasPath, Field

from cqrs_ddd_core import AggregateRoot, DomainEvent, StoredEvent, ValueObject
from cqrs_ddd_core.primitives.exceptions import UnknownArgumentError, ValidationError


class Price(ValueObject):
    amount: int
    currency: str = "EUR"


class PriceSet(DomainEvent):
    price: Price


class Article(AggregateRoot[str]):
    price: Price | None = None
    stock: int = 0

    def apply_PriceSet(self, event: PriceSet) -> None:
        self.price = event.price


class Counted(AggregateRoot[str]):
    parts: tuple[str, ...] = ()
    count: int = 0

    def model_post_init(self, context: object, /) -> None:
        self.count = len(self.parts)


class Renamed(DomainEvent):
    new_name: str = Field(default="", alias="newName")


class EitherName(DomainEvent):
    model_config = pydantic.ConfigDict(populate_by_name=True)

    new_name: str = Field(default="", alias="newName")


class Located(DomainEvent):
    city: str = Field(default="", validation_alias=AliasChoices("city", AliasPath("place", "city")))


class Open(DomainEvent):
    model_config = pydantic.ConfigDict(extra="allow")


class Older(DomainEvent):
    amount: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_sum(cls, data: Any) -> Any:
        return {**data, "amount": data["sum"]} if "sum" in data else data


class ByPosition(DomainEvent):
    amount: int

    def __init__(self, amount: int, **envelope: Any) -> None:
        make(super().__init__, amount=amount, **envelope)


def make(create: Callable[..., object], **arguments: Any) -> object:
    """Call with arguments that type checkers would reject."""
    return create(**arguments)


@pytest.mark.parametrize(
    ("create", "arguments", "message"),
    [
        (Price, {"amount": 1, "colour": "red"}, "Price has no field colour; it takes amount, curr"),
        (Price, {"amount": 1, "curency": "X"}, "Price has no field curency; did you mean currency"),
        (PriceSet, {"price": Price(amount=1), "aggregat_id": "a"}, "did you mean aggregate_id?"),
        (Article, {"id": "a", "stok": 1}, "Article has no field stok; did you mean stock?"),
        (Counted, {"id": "a", "sum": 1}, "Counted has no field sum; it takes id, parts, count"),
        (Renamed, {"new_name": "x"}, "Renamed has no field new_name; did you mean newName?"),
        (EitherName, {"newname": "x"}, "EitherName has no field newname; did you mean new_name?"),
        (Located, {"town": "Bonn"}, "Located has no field town"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_constructor_rejects_an_unknown_argument_and_names_a_similar_one(
    create: Callable[..., object], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownArgumentError) as caught:
        make(create, **arguments)

    assert message in str(caught.value)
    assert isinstance(caught.value, (ValidationError, TypeError))
    assert list(caught.value.errors) == [caught.value.argument] == [[*arguments][-1]]


def test_constructor_accepts_each_name_that_a_field_is_read_from() -> None:
    assert Renamed(newName="x").new_name == "x"
    assert make(EitherName, new_name="x")
    assert EitherName(newName="x").new_name == "x"
    assert make(Located, city="Bonn")
    assert make(Located, place={"city": "Bonn"})
    assert make(Open, anything=1)
    assert make(Older, sum=3)
    assert ByPosition(3, event_id="e").event_id == "e"


@pytest.mark.parametrize("value", [Price(amount=1), Article(id="a"), Renamed(newName="x")])
def test_changed_copy_rejects_a_field_that_the_class_does_not_have(
    value: Price | Article | Renamed,
) -> None:
    with pytest.raises(UnknownArgumentError, match="has no field colour"):
        value.model_copy(update={"colour": "red"})

    assert value.model_copy() == value
    assert Price(amount=1).model_copy(update={"amount": 2}) == Price(amount=2)
    assert make(Open().model_copy, update={"colour": "red"})


def test_stored_event_of_newer_code_is_decoded_without_its_unknown_fields() -> None:
    stored = StoredEvent(
        event_id="e-1",
        event_type="PriceSet",
        aggregate_id="a",
        aggregate_type="Article",
        version=1,
        payload={"price": {"amount": 3, "currency": "EUR", "tax": 7}, "reason": "sale"},
    )

    article = Article.rehydrate("a", [stored])

    assert article.price == Price(amount=3)


def test_stored_state_of_newer_code_is_read_without_its_unknown_fields() -> None:
    newer = '{"id": "a", "stock": 3, "colour": "red", "price": {"amount": 1, "tax": 2}}'

    article = Article.model_validate_json(newer)

    assert article == Article(id="a", stock=3, price=Price(amount=1))
