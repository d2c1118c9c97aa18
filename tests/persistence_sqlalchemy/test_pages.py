"""Pages after the last item, over random aggregates with many ties, in memory and in databases."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from cqrs_ddd_core import IRepository
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.testing.contracts.parcel import Parcel, new_parcel_id
from cqrs_ddd_specifications import QueryOptions, field
from cqrs_ddd_specifications.keyset import list_attributes
from cqrs_ddd_specifications.memory.evaluator import read_attributes
from tests.persistence_sqlalchemy.parcels import Parcels

SEEDS = range(8)


def _random_order(random: Random) -> tuple[str, ...]:
    names = random.sample(["owner", "grams", "note"], k=random.randrange(4))
    signed = [random.choice(("", "-")) + name for name in names]
    return tuple(signed + random.choice(([], ["id"], ["-id"])))


async def _store_ties(repositories: list[IRepository[Parcel, str]], random: Random) -> list[str]:
    many = [Parcel.register(new_parcel_id(), random.choice("aAbä")) for _ in range(40)]
    for parcel in many:
        parcel.grams = random.choice((None, None, 0, 1, 2))
        parcel.note = random.choice((None, "", "x", "X"))
    for repository in repositories:
        for parcel in many:
            await repository.add(parcel.model_copy(deep=True))
    return [parcel.id for parcel in many]


async def _walk(
    repository: IRepository[Parcel, str], options: QueryOptions, *, by_cursor: bool
) -> list[str]:
    """Return the ids on all pages, which begin after the last item or at its cursor."""
    seen: list[str] = []
    page = options
    while found := await (await repository.search(page)):
        seen += [parcel.id for parcel in found]
        if by_cursor:
            page = options.with_cursor(page.cursor_after(found[-1]))
        else:
            page = page.next_page(found[-1])
    return seen


@pytest.mark.parametrize("seed", SEEDS)
async def test_pages_in_a_random_order_with_ties_contain_each_aggregate_once(
    parcels: Parcels, seed: int
) -> None:
    random = Random(seed)
    memory = InMemoryRepository[Parcel, str](Parcel)
    ids = await _store_ties([parcels, memory], random)

    for _ in range(5):
        ordering, size = _random_order(random), random.choice((1, 3, 7, 40, 50))
        options = QueryOptions(field("id").is_in(ids), ordering, limit=size)
        found = await memory.search(QueryOptions(None, ordering or ("id",)))
        whole = [each.id for each in await found]
        for repository in (memory, parcels):
            for by_cursor in (False, True):
                seen = await _walk(repository, options, by_cursor=by_cursor)
                assert seen == whole, (ordering, size)
        assert sorted(whole) == sorted(ids)


async def test_deep_page_is_a_range_of_the_first_attribute_in_an_order_without_doubles(
    parcels: Parcels, statements: list[str]
) -> None:
    last = Parcel.register("p-5", "anna")
    options = QueryOptions(ordering=("owner",), limit=3).next_page(last)

    await (await parcels.search(options))

    [sent] = [each for each in statements if each.startswith("SELECT")]
    where, _, order = sent.partition("WHERE")[2].partition("ORDER BY")
    assert ">=" in where.partition("AND")[0]
    assert "IS NULL" not in where
    assert order.count("id") == 1


class TiedOptions(QueryOptions):
    """Wrong variant: continues after values of the order that other items may have, too."""

    def next_page(self, last_item: object, *, key: str = "id") -> QueryOptions:
        return replace(self, after=read_attributes(last_item, list_attributes(self.ordering)))


async def test_page_walk_catches_a_next_page_that_loses_aggregates_with_equal_values() -> None:
    memory = InMemoryRepository[Parcel, str](Parcel)
    ids = await _store_ties([memory], Random(1))

    seen = await _walk(memory, TiedOptions(ordering=("owner",), limit=3), by_cursor=False)

    assert len(set(seen)) < len(ids)
