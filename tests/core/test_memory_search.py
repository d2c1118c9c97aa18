"""Searches of the in-memory repository, in addition to the contract of repositories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.domain import ICompiledSpecification
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, ValidationError
from cqrs_ddd_core.testing.contracts.parcel import Parcel, make_parcel
from tests.core.conftest import QueryOptions


@dataclass
class Heavier(ICompiledSpecification[Parcel]):
    """Specification that checks its attribute when it is compiled for a class."""

    grams: int
    attribute: str = "grams"
    compiled: list[type] = field(default_factory=list)

    def is_satisfied_by(self, candidate: Parcel) -> bool:
        raise AssertionError("the compiled predicate was not used")

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


async def test_compilable_specification_is_compiled_once_per_search(
    parcels: InMemoryRepository[Parcel, str],
) -> None:
    await parcels.add_many([make_parcel(grams=grams) for grams in (1, 2, 3)])
    alone, on_a_page = Heavier(1), Heavier(1)

    for criteria in (alone, QueryOptions(on_a_page, ordering=("-grams",), limit=2)):
        result = await parcels.search(criteria)
        found = [await result, [parcel async for parcel in result.stream()]]

        assert [{parcel.grams for parcel in each} for each in found] == [{2, 3}] * 2
    assert alone.compiled == on_a_page.compiled == [Parcel]


async def test_invalid_specification_is_rejected_even_in_an_empty_repository(
    parcels: InMemoryRepository[Parcel, str],
) -> None:
    for criteria in (Heavier(1, "weight"), QueryOptions(Heavier(1, "weight"))):
        with pytest.raises(ValidationError, match="no weight"):
            await parcels.search(criteria)


async def test_repository_search_rejects_options_that_select_fields(
    parcels: InMemoryRepository[Parcel, str],
) -> None:
    with pytest.raises(InvalidOperationError, match="cannot read only owner, grams"):
        await parcels.search(SelectingOptions(select_fields=("owner", "grams")))

    assert await (await parcels.search(SelectingOptions())) == []


class Meeting(AggregateRoot[str]):
    at: datetime


async def test_times_in_a_repeated_hour_are_ordered_by_instant() -> None:
    meetings: InMemoryRepository[Meeting, str] = InMemoryRepository(Meeting)
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=zone)
    times = {"a": first.replace(fold=1), "b": first.replace(minute=45), "c": first}
    await meetings.add_many([Meeting(id=name, at=at) for name, at in times.items()])

    found = await (await meetings.search(QueryOptions(None, ordering=("at",))))

    assert [each.id for each in found] == ["c", "b", "a"]
