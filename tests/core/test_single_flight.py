"""Single flight of loads; two repositories on one cache act as two processes."""

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
    """Repository that counts its loads and can delay them."""

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
    """Cache that records its round trips and reports a denied lease."""

    def __init__(self) -> None:
        super().__init__()
        self.trips: list[str] = []
        self.has_denied = asyncio.Event()

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        self.trips.append("read")
        return await super().get_many(keys)

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        self.trips.append("lease")
        leases = await super().lease_many(keys, ttl)
        if len(leases) < len(keys):
            self.has_denied.set()
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
def other_process(inner: SlowParcels, cache: CountingCache) -> CachingRepository[Parcel, str]:
    return CachingRepository(inner, cache, Parcel)


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "PAUSES", (0.0,) * 3)


Parcels = CachingRepository[Parcel, str]


async def test_cache_miss_waits_for_the_load_of_another_process(
    parcels: Parcels, other_process: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    inner.may_answer.clear()
    asking = [asyncio.ensure_future(each.get("p-1")) for each in [parcels, other_process] * 50]
    await cache.has_denied.wait()
    inner.may_answer.set()

    found = await asyncio.gather(*asking)

    assert [parcel.owner for parcel in found if parcel is not None] == ["anna"] * 100
    assert inner.loads == 1


async def test_fill_lease_of_a_dead_process_does_not_block_readers_for_long(
    without_pauses: None, parcels: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    key = parcels._states.key("p-1")
    assert await cache.lease_fill(key, 30) is not None

    found = await parcels.get("p-1")

    assert found is not None
    assert inner.loads == 1
    assert await cache.get(key) is None, "only the holder of the lease may fill"
    assert cache.trips.count("lease") == 1 + 1 + 3


async def test_waiter_takes_a_fill_lease_that_becomes_free(
    parcels: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    key = parcels._states.key("p-1")
    await cache.lease_fill(key, 30)
    cache.has_denied.clear()
    asking = asyncio.ensure_future(parcels.get("p-1"))
    await cache.has_denied.wait()
    await cache.delete(key)

    assert await asking is not None

    assert inner.loads == 1
    assert await cache.get(key) is not None


@pytest.mark.parametrize("error", [None, RuntimeError("the database is away")])
async def test_absent_value_or_failed_load_does_not_make_other_processes_wait(
    parcels: Parcels, other_process: Parcels, inner: SlowParcels, error: Exception | None
) -> None:
    inner.error = error
    for loads, each in enumerate([parcels, other_process], 1):
        (answer,) = await asyncio.gather(each.get("absent"), return_exceptions=True)

        assert answer is error
        assert inner.loads == loads
    cache = parcels._states._values._cache._cache
    assert isinstance(cache, CountingCache)
    assert cache.trips.count("read") == 2, "no reader had to read the cache again"


async def test_cancelled_load_leaves_no_fill_lease(
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


async def test_cancelled_waiter_does_not_void_the_fill_lease_of_the_loader(
    parcels: Parcels, other_process: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    inner.may_answer.clear()
    loading = asyncio.ensure_future(parcels.get("p-1"))
    waiting = asyncio.ensure_future(other_process.get("p-1"))
    await cache.has_denied.wait()
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    inner.may_answer.set()
    await loading

    assert await cache.get(parcels._states.key("p-1")) is not None


async def _start_reads(inner: SlowParcels, *asked: Parcels) -> list[asyncio.Task[Parcel | None]]:
    """Start one read for each repository: the first read loads, the others wait for it."""
    inner.may_answer.clear()
    asking = [asyncio.create_task(each.get("p-1")) for each in asked]
    for _ in range(20):
        await asyncio.sleep(0)
    assert inner.loads == 1
    return asking


async def test_single_waiter_takes_over_a_cancelled_load(
    parcels: Parcels, inner: SlowParcels
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    first, *others = await _start_reads(inner, *[parcels] * 500)
    first.cancel()
    inner.may_answer.set()

    found = await asyncio.gather(*others)

    assert first.cancelled()
    assert [each.owner for each in found if each is not None] == ["anna"] * 499
    assert inner.loads == 2


async def test_waiters_of_a_failed_load_get_its_error(parcels: Parcels, inner: SlowParcels) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    error = inner.error = RuntimeError("the database is away")
    asking = await _start_reads(inner, *[parcels] * 500)
    inner.may_answer.set()

    found = await asyncio.gather(*asking, return_exceptions=True)

    assert found == [error] * 500
    assert inner.loads == 1
    assert len(traceback.extract_tb(error.__traceback__)) < 20, (
        "the traceback does not grow with each waiter"
    )
    inner.error = None
    assert await parcels.get("p-1") is not None


@pytest.mark.parametrize("error", [None, RuntimeError("the database is away")])
async def test_another_process_takes_over_a_load_that_ends_early(
    parcels: Parcels,
    other_process: Parcels,
    inner: SlowParcels,
    cache: CountingCache,
    error: Exception | None,
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    first, *others = await _start_reads(inner, parcels, *[other_process] * 50)
    await cache.has_denied.wait()
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
def test_uncancelled_waiters_are_served_by_one_load_at_a_time(
    cancelled: list[tuple[int, int]],
) -> None:
    asyncio.run(_cancel_some(cancelled))


async def _cancel_some(cancelled: list[tuple[int, int]]) -> None:
    inner, cache = SlowParcels(), CountingCache()
    parcels = CachingRepository(inner, cache, Parcel)
    await inner.add(Parcel.register("p-1", "anna"))
    inner.may_answer.clear()
    asking = [asyncio.ensure_future(parcels.get("p-1")) for _ in range(10)]
    for reader, turns in cancelled:
        asking[reader].cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
    inner.may_answer.set()

    found = await asyncio.gather(*asking, return_exceptions=True)

    gone = {reader for reader, _ in cancelled}
    for reader, each in enumerate(found):
        assert isinstance(each, asyncio.CancelledError if reader in gone else Parcel)
    assert inner.most_at_once <= 1
    assert inner.loads <= 1 + len(gone)
    assert parcels._states._values._flights == {}
    assert cache._leases == {}


class TextCodec:
    """Codec that stores texts unchanged."""

    def key(self, value_id: object) -> str:
        return f"number {value_id}"

    def encode(self, value: Any) -> Any | None:
        return value

    def decode(self, state: Any) -> Any | None:
        return state


async def test_cache_miss_of_many_keys_takes_as_many_round_trips_as_of_one(
    cache: CountingCache,
) -> None:
    values, asked = ReadThrough(FailOpenCache(cache, 60)), []
    ids = [str(number) for number in range(100)]

    async def load(missing: list[str]) -> list[str]:
        asked.append(missing)
        return missing

    assert await values.get_values(TextCodec(), ids, load, str) == ids
    assert asked == [ids]
    assert cache.trips == ["read", "lease", "fill"]

    assert await values.get_values(TextCodec(), ids, load, str) == ids
    await values.drop([TextCodec().key(each) for each in ids])
    assert asked == [ids]
    assert cache.trips == ["read", "lease", "fill", "read", "delete"]


async def test_batch_waits_for_the_keys_that_another_process_loads(
    cache: CountingCache,
) -> None:
    here, there = (ReadThrough(FailOpenCache(cache, 60)) for _ in range(2))
    all_begun, begun, asked = asyncio.Event(), [], []

    async def load(missing: list[str]) -> list[str]:
        asked.extend(missing)
        begun.append(missing)
        if len(begun) == 2:
            all_begun.set()
        await all_begun.wait()
        return missing

    found = await asyncio.gather(
        here.get_values(TextCodec(), ["a", "b", "c"], load, str),
        there.get_values(TextCodec(), ["c", "d", "a"], load, str),
    )

    assert [sorted(each) for each in found] == [["a", "b", "c"], ["a", "c", "d"]]
    assert sorted(asked) == ["a", "b", "c", "d"]


async def test_failed_load_of_a_batch_does_not_fail_callers_of_its_other_keys(
    cache: CountingCache,
) -> None:
    values, asked = ReadThrough(FailOpenCache(cache, 60)), []

    async def load(missing: list[str]) -> list[str]:
        asked.append(missing)
        await asyncio.sleep(0.01)
        if "unreadable" in missing:
            raise ValueError("unreadable is not a number")
        return missing

    first, *others = await asyncio.gather(
        values.get_values(TextCodec(), ["1", "unreadable"], load, str),
        *(values.get_values(TextCodec(), ["1"], load, str) for _ in range(100)),
        values.get_values(TextCodec(), ["unreadable", "1"], load, str),
        return_exceptions=True,
    )

    assert isinstance(first, ValueError)
    assert others == [["1"]] * 100 + [first]
    assert asked == [["1", "unreadable"], ["1"]]


async def test_caller_that_arrived_before_a_load_began_uses_its_result(
    without_pauses: None, parcels: Parcels, inner: SlowParcels, cache: CountingCache
) -> None:
    await inner.add(Parcel.register("p-1", "anna"))
    await cache.lease_fill(parcels._states.key("p-1"), 30)

    await asyncio.gather(*(parcels.get("p-1") for _ in range(20)))

    assert inner.loads == 1


class NeverWaits(Leader):
    """Wrong variant: never waits for another load."""

    async def _load_free(self, ids: list[Any], *, is_again: bool = False) -> list[Any]:
        leases = await self._cache.lease([self._keys[each] for each in ids])
        await self._load_all(ids, leases)
        return []


class KeepsItsLease(Leader):
    """Wrong variant: does not release its leases after a cancelled load."""

    async def _release(self, keys: Collection[str], error: BaseException) -> None:
        pass


class LeavesWaitersAlone(Leader):
    """Wrong variant: lets each waiter of a load that ended early load for itself."""

    def _finish(self, each: Any, landed: Any) -> None:
        super()._finish(each, None if isinstance(landed, LoadFailed) else landed)


class KeepsTheError(Leader):
    """Wrong variant: does not pass the error of a failed load to its waiters."""

    def _fail(self, ids: list[Any], error: Exception) -> None:
        pass


class FailsEveryKey(Leader):
    """Wrong variant: passes the error of a failed load to the waiters of each of its keys."""

    def _fail(self, ids: list[Any], error: Exception) -> None:
        for each in ids:
            self._finish(each, LoadFailed(error, error.__traceback__))


class RaisesTheSameError(LoadFailed):
    """Wrong variant: raises one error object repeatedly, so that its traceback grows."""

    def raise_for(self, asked: object) -> None:
        if self.error is not None:
            raise self.error


CANCELLED = test_single_waiter_takes_over_a_cancelled_load
FAILED = test_waiters_of_a_failed_load_get_its_error


@pytest.mark.parametrize(
    ("name", "naive", "test"),
    [
        ("read_through.Leader", LeavesWaitersAlone, CANCELLED),
        ("read_through.Leader", LeavesWaitersAlone, FAILED),
        ("read_through.Leader", KeepsTheError, FAILED),
        ("single_flight.LoadFailed", RaisesTheSameError, FAILED),
    ],
)
async def test_single_flight_check_catches_a_leader_that_mishandles_a_failed_load(
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


async def test_single_flight_check_catches_a_leader_that_fails_every_key_of_a_batch(
    cache: CountingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cqrs_ddd_core.spi.caching.read_through.Leader", FailsEveryKey)

    with pytest.raises(AssertionError):
        await test_failed_load_of_a_batch_does_not_fail_callers_of_its_other_keys(cache)


async def test_single_flight_check_catches_a_leader_that_never_waits_for_another_load(
    parcels: Parcels,
    other_process: Parcels,
    inner: SlowParcels,
    cache: CountingCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cqrs_ddd_core.spi.caching.read_through.Leader", NeverWaits)

    with pytest.raises(AssertionError):
        await test_cache_miss_waits_for_the_load_of_another_process(
            parcels, other_process, inner, cache
        )


async def test_single_flight_check_catches_a_leader_that_keeps_the_lease_of_a_cancelled_load(
    parcels: Parcels, inner: SlowParcels, cache: CountingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cqrs_ddd_core.spi.caching.read_through.Leader", KeepsItsLease)

    with pytest.raises(AssertionError):
        await test_cancelled_load_leaves_no_fill_lease(parcels, inner, cache)
