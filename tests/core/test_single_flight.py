"""One load for everybody: two repositories over one cache are two processes."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_core.adapters.caching_repository import CachingRepository
from cqrs_ddd_core.adapters.memory import InMemoryCacheService, InMemoryRepository
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.spi.caching import single_flight as flights
from cqrs_ddd_core.spi.caching.fail_open_cache import FailOpenCache
from cqrs_ddd_core.spi.caching.read_through import ReadThrough
from cqrs_ddd_core.spi.caching.single_flight import Leader, LoadFailed
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.faults import cancel_sweep


class SlowParcels(InMemoryRepository[Parcel, str]):
    """Its loads are counted, and answer when they may."""

    def __init__(self) -> None:
        super().__init__(Parcel)
        self.loads = 0
        self.most_at_once = 0
        self._at_once = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.error: Exception | None = None

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        self.loads += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            found = await super().get(entity_id, uow)
            await self.may_answer.wait()
        finally:
            self._at_once -= 1
        if self.error is not None:
            raise self.error
        return found


class CountingCache(InMemoryCacheService):
    """Counts its round trips, and those that ask for leases."""

    def __init__(self) -> None:
        super().__init__()
        self.trips: list[str] = []
        self.has_refused = asyncio.Event()

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        self.trips.append("read")
        return await super().get_many(keys)

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        self.trips.append("lease")
        leases = await super().lease_many(keys, ttl)
        if len(leases) < len(keys):
            self.has_refused.set()
        return leases

    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        self.trips.append("fill")
        return await super().fill_many(values, leases, ttl)

    async def delete_many(self, keys: Sequence[str]) -> None:
        self.trips.append("delete")
        await super().delete_many(keys)


@pytest.fixture
def inner() -> SlowParcels:
    return SlowParcels()


@pytest.fixture
def cache() -> CountingCache:
    return CountingCache()


@pytest.fixture
def parcels(inner: SlowParcels, cache: CountingCache) -> CachingRepository[Parcel, str]:
    return CachingRepository(inner, cache, Parcel)


@pytest.fixture
def elsewhere(inner: SlowParcels, cache: CountingCache) -> CachingRepository[Parcel, str]:
    return CachingRepository(inner, cache, Parcel)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "PAUSES", (0.0,) * 3)


Parcels = CachingRepository[Parcel, str]


async def test_who_misses_what_another_process_loads_waits_for_it(
    parcels: Parcels, elsewhere: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    inner.may_answer.clear()
    asking = [asyncio.ensure_future(each.get("p-1")) for each in [parcels, elsewhere] * 50]
    await cache.has_refused.wait()
    inner.may_answer.set()

    found = await asyncio.gather(*asking)

    assert [parcel.owner for parcel in found if parcel is not None] == ["anna"] * 100
    assert inner.loads == 1


async def test_who_holds_a_lease_and_is_gone_holds_up_nobody_for_long(
    impatient: None, parcels: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    key = parcels._states.key("p-1")
    assert await cache.lease_fill(key, 30) is not None

    found = await parcels.get("p-1")

    assert found is not None
    assert inner.loads == 1
    assert await cache.get(key) is None, "only who has the lease may fill"
    assert cache.trips.count("lease") == 1 + 1 + 3


async def test_a_lease_that_becomes_free_is_taken(
    parcels: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    key = parcels._states.key("p-1")
    await cache.lease_fill(key, 30)
    cache.has_refused.clear()
    asking = asyncio.ensure_future(parcels.get("p-1"))
    await cache.has_refused.wait()
    await cache.delete(key)

    assert await asking is not None

    assert inner.loads == 1
    assert await cache.get(key) is not None


@pytest.mark.parametrize("error", [None, RuntimeError("the database is away")])
async def test_what_a_load_does_not_bring_others_need_not_wait_for(
    parcels: Parcels, elsewhere: Parcels, inner: SlowParcels, error: Exception | None
) -> None:
    inner.error = error
    for loads, each in enumerate([parcels, elsewhere], 1):
        (answer,) = await asyncio.gather(each.get("absent"), return_exceptions=True)

        assert answer is error
        assert inner.loads == loads
    cache = parcels._states._values._cache._cache
    assert isinstance(cache, CountingCache)
    assert cache.trips.count("read") == 2, "nobody had to look again"


async def test_a_cancelled_load_leaves_no_lease_behind(
    parcels: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))

    async def work() -> None:
        await parcels.get("p-1")
        await parcels.get("absent")

    async def check() -> None:
        assert cache._leases == {}
        assert parcels._states._values._flights == {}
        await cache.clear()

    assert await cancel_sweep(work, check) > 0


async def test_who_is_cancelled_while_he_waits_leaves_the_other_his_lease(
    parcels: Parcels, elsewhere: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    inner.may_answer.clear()
    loading = asyncio.ensure_future(parcels.get("p-1"))
    waiting = asyncio.ensure_future(elsewhere.get("p-1"))
    await cache.has_refused.wait()
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    inner.may_answer.set()
    await loading

    assert await cache.get(parcels._states.key("p-1")) is not None


async def _asking(inner: SlowParcels, *asked: Parcels) -> list[asyncio.Task[Parcel | None]]:
    """The first of them loads, and all others wait for it."""
    inner.may_answer.clear()
    asking = [asyncio.create_task(each.get("p-1")) for each in asked]
    for _ in range(20):
        await asyncio.sleep(0)
    assert inner.loads == 1
    return asking


async def test_when_a_load_is_cancelled_one_of_those_who_wait_is_the_next(
    parcels: Parcels, inner: SlowParcels
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    first, *others = await _asking(inner, *[parcels] * 500)
    first.cancel()
    inner.may_answer.set()

    found = await asyncio.gather(*others)

    assert first.cancelled()
    assert [each.owner for each in found if each is not None] == ["anna"] * 499
    assert inner.loads == 2


async def test_when_a_load_fails_those_who_wait_get_its_error(
    parcels: Parcels, inner: SlowParcels
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    error = inner.error = RuntimeError("the database is away")
    asking = await _asking(inner, *[parcels] * 500)
    inner.may_answer.set()

    found = await asyncio.gather(*asking, return_exceptions=True)

    assert found == [error] * 500
    assert inner.loads == 1
    assert len(traceback.extract_tb(error.__traceback__)) < 20, "not longer with each"
    inner.error = None
    assert await parcels.get("p-1") is not None


@pytest.mark.parametrize("error", [None, RuntimeError("the database is away")])
async def test_when_a_load_ends_early_another_process_takes_over(
    parcels: Parcels,
    elsewhere: Parcels,
    inner: SlowParcels,
    cache: CountingCache,
    error: Exception | None,
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    first, *others = await _asking(inner, parcels, *[elsewhere] * 50)
    await cache.has_refused.wait()
    if error is None:
        first.cancel()
    inner.error = error
    inner.may_answer.set()
    await asyncio.wait({first})
    inner.error = None

    found = await asyncio.gather(*others)

    assert [each.owner for each in found if each is not None] == ["anna"] * 50
    assert inner.loads == 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 8)), max_size=10))
def test_whoever_is_cancelled_the_others_are_served_by_one_load_at_a_time(
    cancelled: list[tuple[int, int]],
) -> None:
    asyncio.run(_cancel_some(cancelled))


async def _cancel_some(cancelled: list[tuple[int, int]]) -> None:
    inner, cache = SlowParcels(), CountingCache()
    parcels = CachingRepository(inner, cache, Parcel)
    await inner.add(Parcel.register("p-1", "anna"))
    inner.may_answer.clear()
    asking = [asyncio.ensure_future(parcels.get("p-1")) for _ in range(10)]
    for who, turns in cancelled:
        asking[who].cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
    inner.may_answer.set()

    found = await asyncio.gather(*asking, return_exceptions=True)

    gone = {who for who, _ in cancelled}
    for who, each in enumerate(found):
        assert isinstance(each, asyncio.CancelledError if who in gone else Parcel)
    assert inner.most_at_once <= 1
    assert inner.loads <= 1 + len(gone)
    assert parcels._states._values._flights == {}
    assert cache._leases == {}


class Numbers:
    """Texts as they are."""

    def key(self, value_id: object) -> str:
        return f"number {value_id}"

    def encode(self, value: Any) -> Any | None:
        return value

    def decode(self, state: Any) -> Any | None:
        return state


async def test_a_miss_of_many_takes_as_many_round_trips_as_one(cache: CountingCache) -> None:
    values, asked = ReadThrough(FailOpenCache(cache, 60)), []
    ids = [str(number) for number in range(100)]

    async def load(missing: list[str]) -> list[str]:
        asked.append(missing)
        return missing

    assert await values.get_values(Numbers(), ids, load, str) == ids
    assert asked == [ids]
    assert cache.trips == ["read", "lease", "fill"]

    assert await values.get_values(Numbers(), ids, load, str) == ids
    await values.drop([Numbers().key(each) for each in ids])
    assert asked == [ids]
    assert cache.trips == ["read", "lease", "fill", "read", "delete"]


async def test_of_many_those_that_another_process_loads_are_waited_for(
    cache: CountingCache,
) -> None:
    here, there = (ReadThrough(FailOpenCache(cache, 60)) for _ in range(2))
    both_have_begun, begun, asked = asyncio.Event(), [], []

    async def load(missing: list[str]) -> list[str]:
        asked.extend(missing)
        begun.append(missing)
        if len(begun) == 2:
            both_have_begun.set()
        await both_have_begun.wait()
        return missing

    found = await asyncio.gather(
        here.get_values(Numbers(), ["a", "b", "c"], load, str),
        there.get_values(Numbers(), ["c", "d", "a"], load, str),
    )

    assert [sorted(each) for each in found] == [["a", "b", "c"], ["a", "c", "d"]]
    assert sorted(asked) == ["a", "b", "c", "d"]


async def test_what_else_a_load_asked_for_fails_nobody_else(cache: CountingCache) -> None:
    values, asked = ReadThrough(FailOpenCache(cache, 60)), []

    async def load(missing: list[str]) -> list[str]:
        asked.append(missing)
        await asyncio.sleep(0.01)
        if "unreadable" in missing:
            raise ValueError("unreadable is no number")
        return missing

    first, *others = await asyncio.gather(
        values.get_values(Numbers(), ["1", "unreadable"], load, str),
        *(values.get_values(Numbers(), ["1"], load, str) for _ in range(100)),
        values.get_values(Numbers(), ["unreadable", "1"], load, str),
        return_exceptions=True,
    )

    assert isinstance(first, ValueError)
    assert others == [["1"]] * 100 + [first]
    assert asked == [["1", "unreadable"], ["1"]]


async def test_who_came_before_a_load_began_takes_what_it_brings(
    impatient: None, parcels: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    await cache.lease_fill(parcels._states.key("p-1"), 30)

    await asyncio.gather(*(parcels.get("p-1") for _ in range(20)))

    assert inner.loads == 1


class LoadsAtOnce(Leader):
    """Waits for nobody."""

    async def _load_free(self, ids: list[Any], *, is_again: bool = False) -> list[Any]:
        leases = await self._cache.lease([self._keys[each] for each in ids])
        await self._load_all(ids, leases)
        return []


class KeepsItsLease(Leader):
    async def _release(self, keys: Collection[str], error: BaseException) -> None:
        pass


class LeavesTheOthersToThemselves(Leader):
    """Who waits for a load that ends early loads by himself."""

    def _finish(self, each: Any, landed: Any) -> None:
        super()._finish(each, None if isinstance(landed, LoadFailed) else landed)


class TellsNobody(Leader):
    """Whoever waits for a load that fails tries it again."""

    def _fail(self, ids: list[Any], error: Exception) -> None:
        pass


class TellsEverybody(Leader):
    """Also those who have not asked for what else was loaded."""

    def _fail(self, ids: list[Any], error: Exception) -> None:
        for each in ids:
            self._finish(each, LoadFailed(error, error.__traceback__))


class RaisesOnAndOn(LoadFailed):
    def raise_for(self, asked: object) -> None:
        if self.error is not None:
            raise self.error


CANCELLED = test_when_a_load_is_cancelled_one_of_those_who_wait_is_the_next
FAILED = test_when_a_load_fails_those_who_wait_get_its_error


@pytest.mark.parametrize(
    ("name", "naive", "test"),
    [
        ("read_through.Leader", LeavesTheOthersToThemselves, CANCELLED),
        ("read_through.Leader", LeavesTheOthersToThemselves, FAILED),
        ("read_through.Leader", TellsNobody, FAILED),
        ("single_flight.LoadFailed", RaisesOnAndOn, FAILED),
    ],
)
async def test_a_naive_load_that_ends_early_is_caught(
    parcels: Parcels,
    inner: SlowParcels,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    naive: type[Any],
    test: Callable[[Parcels, SlowParcels], Awaitable[None]],
) -> None:
    monkeypatch.setattr(f"cqrs_ddd_core.spi.caching.{name}", naive)

    with pytest.raises(AssertionError):
        await test(parcels, inner)


async def test_who_tells_everybody_fails_those_who_have_not_asked_for_it(
    cache: CountingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cqrs_ddd_core.spi.caching.read_through.Leader", TellsEverybody)

    with pytest.raises(AssertionError):
        await test_what_else_a_load_asked_for_fails_nobody_else(cache)


async def test_who_waits_for_nobody_loads_again(
    parcels: Parcels,
    elsewhere: Parcels,
    inner: SlowParcels,
    cache: CountingCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cqrs_ddd_core.spi.caching.read_through.Leader", LoadsAtOnce)

    with pytest.raises(AssertionError):
        await test_who_misses_what_another_process_loads_waits_for_it(
            parcels, elsewhere, inner, cache
        )


async def test_who_keeps_his_lease_lets_others_wait(
    parcels: Parcels, inner: SlowParcels, cache: CountingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cqrs_ddd_core.spi.caching.read_through.Leader", KeepsItsLease)

    with pytest.raises(AssertionError):
        await test_a_cancelled_load_leaves_no_lease_behind(parcels, inner, cache)
