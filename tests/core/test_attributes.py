from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, Field, PrivateAttr, Secret, SecretBytes, SecretStr

from cqrs_ddd_core import AggregateRoot, ValueObject
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.primitives.exceptions import ValidationError
from cqrs_ddd_core.primitives.json_fields import find_lost_fields
from cqrs_ddd_core.primitives.json_form import find_difference
from cqrs_ddd_core.spi.querying import ensure_orderable, read_attribute
from tests.core.conftest import QueryOptions


class Price(ValueObject):
    amount: Decimal


class Colour(str, Enum):
    RED = "red"
    BLUE = "blue"


class Offer(AggregateRoot[str]):
    price: Price | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    former: list[Price] = Field(default_factory=list)
    colour: Colour = Colour.RED
    second_colour: Colour | None = None
    anything: Any = None


@pytest.mark.parametrize("path", ["id", "price.amount", "labels.colour", "anything"])
def test_declared_attribute_path_can_be_ordered_by(path: str) -> None:
    ensure_orderable(Offer, path)


@pytest.mark.parametrize(
    "path", ["cost", "price.cost", "id.length", "former.amount", "_journal", "price."]
)
def test_undeclared_attribute_path_cannot_be_ordered_by(path: str) -> None:
    with pytest.raises(ValidationError, match="Offer has no attribute") as caught:
        ensure_orderable(Offer, path)

    assert list(caught.value.errors) == [path]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("colour", "an enum"),
        ("second_colour", "an enum"),
        ("price", "an object of several values"),
        ("labels", "a dict"),
        ("former", "a collection"),
    ],
)
async def test_ordering_by_a_type_without_order_is_rejected_even_in_an_empty_repository(
    path: str, kind: str
) -> None:
    offers = InMemoryRepository[Offer, str](Offer)

    for name in (path, f"-{path}"):
        with pytest.raises(ValidationError, match=f"{kind} has no order") as caught:
            await offers.search(QueryOptions(ordering=(name,)))

        assert list(caught.value.errors) == [path]


async def test_ordering_by_an_unknown_attribute_is_rejected_even_in_an_empty_repository() -> None:
    with pytest.raises(ValidationError, match="Offer has no attribute 'cost'"):
        await InMemoryRepository[Offer, str](Offer).search(QueryOptions(ordering=("cost",)))


async def test_ordering_by_values_of_different_types_is_rejected() -> None:
    offers = InMemoryRepository[Offer, str](Offer)
    await offers.add_many([Offer(id="o-1", anything=1), Offer(id="o-2", anything="one")])

    with pytest.raises(ValidationError, match="cannot order by -anything"):
        await (await offers.search(QueryOptions(ordering=("-anything",))))


def test_attributes_that_json_omits_or_masks_are_found_in_nested_models() -> None:
    class Key(BaseModel):
        text: SecretStr | None = None
        raw: dict[str, list[SecretBytes]] = Field(default_factory=dict)
        pin: Secret[int]
        label: str = ""
        next: Key | None = None

    class Door(AggregateRoot[str]):
        keys: tuple[Key, ...] = ()
        opened: int = Field(default=0, exclude=True)

    lost = [path for path, _ in find_lost_fields(Door.__pydantic_core_schema__)]
    assert lost == ["keys.text", "keys.raw", "keys.pin", "opened"]
    assert not list(find_lost_fields(Offer.__pydantic_core_schema__))


def test_read_attribute_returns_none_if_a_part_of_its_path_is_none() -> None:
    offer = Offer(id="o-1", labels={"colour": "red"})

    assert read_attribute(offer, "labels.colour") == "red"
    assert read_attribute(offer, "labels.size") is None
    assert read_attribute(offer, "price.amount") is None


async def test_in_memory_search_is_ordered_by_a_part_of_a_value_object() -> None:
    offers = InMemoryRepository[Offer, str](Offer)
    for number, amount in enumerate(("2", "10", "1.5")):
        await offers.add(Offer(id=str(number), price=Price(amount=Decimal(amount))))
    await offers.add(Offer(id="free"))

    found = await (await offers.search(QueryOptions(ordering=("-price.amount",))))

    assert [offer.id for offer in found] == ["free", "1", "0", "2"]


class Ticket(AggregateRoot[str]):
    """Aggregate that compares equal by its id, as entities often do."""

    seats: list[str] = Field(default_factory=list)
    _looks: int = PrivateAttr(default=0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ticket) and other.id == self.id


@dataclass(frozen=True)
class Row:
    id: str
    size: int = field(default=0, compare=False)


def test_difference_of_two_values_is_found_in_their_fields_only() -> None:
    looked = Ticket(id="t")
    looked._looks = 1

    assert find_difference(Ticket(id="t", seats=["A1"]), Ticket(id="t", seats=["A1"])) is None
    assert find_difference(Ticket(id="t", seats=["A1"]), Ticket(id="t")) == ("seats", ["A1"], [])
    assert find_difference(looked, Ticket(id="t")) is None
    assert find_difference([Row("r", 1)], [Row("r", 2)]) == ("0.size", 1, 2)
    assert find_difference(Row("r", 1), Row("r", 1)) is None
    assert find_difference(1, True) == ("", 1, True)
