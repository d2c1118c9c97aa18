from __future__ import annotations

from typing import Any

import pydantic
import pytest

from cqrs_ddd_core import ValueObject
from cqrs_ddd_core.primitives.exceptions import DomainError, ImmutableObjectError


class Money(ValueObject):
    amount: float
    currency: str = "EUR"


def test_value_objects_compare_by_their_fields() -> None:
    assert Money(amount=1) == Money(amount=1, currency="EUR")
    assert len({Money(amount=1), Money(amount=1.0), Money(amount=2)}) == 2


@pytest.mark.parametrize("name", ["amount", "currency", "unknown"])
def test_value_object_is_immutable(name: str) -> None:
    money: Any = Money(amount=1)

    with pytest.raises(ImmutableObjectError, match=f"Money.{name} cannot be changed; create a new"):
        setattr(money, name, 2)
    with pytest.raises(ImmutableObjectError) as caught:
        delattr(money, name)

    assert money == Money(amount=1)
    assert isinstance(caught.value, DomainError)
    assert (caught.value.type_name, caught.value.field) == ("Money", name)


def test_changed_copy_of_a_value_object_is_a_different_value() -> None:
    assert Money(amount=1).model_copy(update={"amount": 2}) == Money(amount=2)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_value_object_rejects_nan_and_infinity(number: float) -> None:
    with pytest.raises(pydantic.ValidationError):
        Money(amount=number)
