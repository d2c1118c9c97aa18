from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import Field

from cqrs_ddd_core import AggregateRoot, ValueObject
from cqrs_ddd_core.adapters.attributes import refuse_unknown_attribute, value_at
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.primitives.exceptions import ValidationError
from tests.core.conftest import QueryOptions


class Price(ValueObject):
    amount: Decimal


class Offer(AggregateRoot[str]):
    price: Price | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    former: list[Price] = Field(default_factory=list)


@pytest.mark.parametrize("path", ["id", "price", "price.amount", "labels.colour"])
def test_what_is_declared_is_known(path: str) -> None:
    refuse_unknown_attribute(Offer, path)


@pytest.mark.parametrize(
    "path", ["cost", "price.cost", "id.length", "former.amount", "_journal", "price."]
)
def test_anything_else_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="Offer has no attribute") as caught:
        refuse_unknown_attribute(Offer, path)

    assert list(caught.value.errors) == [path]


def test_a_value_is_none_where_something_on_the_way_is() -> None:
    offer = Offer(id="o-1", labels={"colour": "red"})

    assert value_at(offer, "labels.colour") == "red"
    assert value_at(offer, "labels.size") is None
    assert value_at(offer, "price.amount") is None


async def test_a_search_is_ordered_by_a_part_of_a_value_object() -> None:
    offers = InMemoryRepository[Offer, str](Offer)
    for number, amount in enumerate(("2", "10", "1.5")):
        await offers.add(Offer(id=str(number), price=Price(amount=Decimal(amount))))
    await offers.add(Offer(id="free"))

    found = await (await offers.search(QueryOptions(ordering=("-price.amount",))))

    assert [offer.id for offer in found] == ["free", "1", "0", "2"]
