"""What the fake of a table asks of criteria, beside what the contract says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.domain import ICompiledSpecification
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, ValidationError
from cqrs_ddd_core.testing.contracts.parcel import Parcel, make_parcel
from tests.core.conftest import QueryOptions


@dataclass
class Heavier(ICompiledSpecification[Parcel]):
    """Knows at once whether a class can be asked for its attribute."""

    grams: int
    attribute: str = "grams"
    compiled: list[type] = field(default_factory=list)

    def is_satisfied_by(self, candidate: Parcel) -> bool:
        raise AssertionError("one function is asked for all")

    def predicate_for(self, candidates: type) -> Callable[[Any], bool]:
        self.compiled.append(candidates)
        if self.attribute not in candidates.__annotations__:
            raise ValidationError(f"no {self.attribute}")
        return lambda candidate: candidate.grams > self.grams


@dataclass
class SelectingOptions(QueryOptions):
    select_fields: tuple[str, ...] = ()


@pytest.fixture
def parcels() -> InMemoryRepository[Parcel, str]:
    return InMemoryRepository(Parcel)


async def test_a_condition_that_can_be_compiled_is_compiled_once_for_a_search(
    parcels: InMemoryRepository[Parcel, str],
) -> None:
    await parcels.add_many([make_parcel(grams=grams) for grams in (1, 2, 3)])
    alone, on_a_page = Heavier(1), Heavier(1)

    for criteria in (alone, QueryOptions(on_a_page, ordering=("-grams",), limit=2)):
        result = await parcels.search(criteria)
        found = [await result, [parcel async for parcel in result.stream()]]

        assert [{parcel.grams for parcel in each} for each in found] == [{2, 3}] * 2
    assert alone.compiled == on_a_page.compiled == [Parcel]


async def test_a_condition_that_cannot_be_asked_is_refused_also_where_nothing_is_stored(
    parcels: InMemoryRepository[Parcel, str],
) -> None:
    for criteria in (Heavier(1, "weight"), QueryOptions(Heavier(1, "weight"))):
        with pytest.raises(ValidationError, match="no weight"):
            await parcels.search(criteria)


async def test_options_that_select_fields_are_refused_since_an_aggregate_is_read_whole(
    parcels: InMemoryRepository[Parcel, str],
) -> None:
    with pytest.raises(InvalidOperationError, match="cannot read only owner, grams"):
        await parcels.search(SelectingOptions(select_fields=("owner", "grams")))

    assert await (await parcels.search(SelectingOptions())) == []
