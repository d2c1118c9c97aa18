"""Tests of the caching dispatcher: fills, invalidation and failures of the cache."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
)

from cqrs_ddd_advanced_core import (
    CachingPersistenceDispatcher,
    IPersistenceDispatcher,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from cqrs_ddd_advanced_core.persistence.caching import ResultCodec
from cqrs_ddd_advanced_core.persistence.fill_leases import InProcessFillLeases
from cqrs_ddd_advanced_core.testing.contracts.parcel_registry import (
    ParcelLabel,
    ParcelSummary,
    fetch_summaries,
    read_parcel,
    run_in_new_context,
    store_parcel,
)
from cqrs_ddd_core import AggregateRoot, SearchResult, UnitOfWork
from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryCacheService, InMemoryUnitOfWork
from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.primitives.exceptions import (
    CacheError,
    ConfigError,
    HandlerNotRegisteredError,
    OptimisticConcurrencyError,
    PersistenceError,
)
from cqrs_ddd_core.testing.contracts.parcel import Parcel, make_parcel
from tests.advanced.parcels import CountedParcels, in_memory_dispatcher
from tests.advanced.test_persistence_contracts import PlainCache
from tests.core.conftest import Equals


@pytest.fixture
def parcels() -> CountedParcels:
    return CountedParcels()


@pytest.fixture
def plain(parcels: CountedParcels) -> PersistenceDispatcher:
    return in_memory_dispatcher(parcels)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(clock: FakeClock) -> InMemoryCacheService:
    return InMemoryCacheService(clock)


@pytest.fixture
def dispatcher(
    plain: PersistenceDispatcher, cache: InMemoryCacheService
) -> CachingPersistenceDispatcher:
    return CachingPersistenceDispatcher(inner=plain, cache_service=cache, default_ttl=300)


# The rows of the table of caching behaviour in the documentation.


async def test_apply_stores_the_aggregate_and_invalidates_its_cache_entries(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels
) -> None:
    parcel = await store_parcel(dispatcher, grams=1)
    assert await read_parcel(dispatcher, parcel.id) == (1, 1, "anna: 1")
    parcels.reads.clear()

    parcel.weigh(2)
    await dispatcher.apply(parcel)

    stored = await parcels.get(parcel.id)
    assert stored is not None
    assert stored.grams == 2
    assert await read_parcel(dispatcher, parcel.id) == (2, 2, "anna: 2")
    assert len(parcels.reads) == 3


@pytest.mark.parametrize("ids", [1, 3])
async def test_repeated_fetches_by_ids_read_the_database_once(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels, ids: int
) -> None:
    stored = [(await store_parcel(dispatcher)).id for _ in range(ids)]

    first = await dispatcher.fetch_domain(Parcel, stored)
    read = await fetch_summaries(dispatcher, stored)
    label = await (await dispatcher.fetch(ParcelLabel, stored))
    parcels.reads.clear()
    for _ in range(3):
        assert await dispatcher.fetch_domain(Parcel, stored) == first
        assert await fetch_summaries(dispatcher, stored) == read
        assert await (await dispatcher.fetch(ParcelLabel, stored)) == label

    assert parcels.reads == []


async def test_search_results_are_never_cached(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels, cache: InMemoryCacheService
) -> None:
    await store_parcel(dispatcher)
    annas: Any = Equals("owner", "anna")

    for count in range(1, 3):
        assert len(await (await dispatcher.fetch(ParcelSummary, annas))) == count
        await parcels.add(make_parcel())

    assert cache._values == {}


# Consequences of the rows.


async def test_cache_misses_of_one_fetch_are_loaded_in_one_call(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels
) -> None:
    one, two, three = [(await store_parcel(dispatcher)).id for _ in range(3)]
    await dispatcher.fetch_domain(Parcel, [two])
    parcels.reads.clear()

    found = await dispatcher.fetch_domain(Parcel, [three, two, one, three])

    assert [each.id for each in found] == [three, two, one]
    assert parcels.reads == [[three, one]]


async def test_unit_of_work_reads_the_cache_and_fills_it_after_the_commit(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels
) -> None:
    one, two, three = [await store_parcel(dispatcher) for _ in range(3)]
    await dispatcher.fetch_domain(Parcel, [one.id, two.id])
    parcels.reads.clear()

    async with InMemoryUnitOfWork() as uow:
        for _ in range(2):
            await dispatcher.fetch_domain(Parcel, [one.id, three.id], uow=uow)
        one.weigh(1)
        await dispatcher.apply(one, uow=uow)
        await dispatcher.fetch_domain(Parcel, [one.id, two.id, three.id], uow=uow)

        assert parcels.reads == [[three.id], [three.id], [one.id, three.id]]

    assert parcels.reads[3:] == [[three.id]]
    await dispatcher.fetch_domain(Parcel, [two.id, three.id])
    assert parcels.reads[4:] == []


async def test_printed_reads_in_a_unit_of_work_are_cached(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels
) -> None:
    parcel = await store_parcel(dispatcher)
    parcels.reads.clear()

    for _ in range(3):
        async with InMemoryUnitOfWork() as uow:
            await dispatcher.fetch_domain(Parcel, [parcel.id], uow=uow)

    assert len(parcels.reads) == 2  # The first one, and the fill after its commit.


async def test_aggregate_saved_in_the_unit_of_work_is_not_read_from_the_cache(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels
) -> None:
    parcel = await store_parcel(dispatcher, grams=1)
    await read_parcel(dispatcher, parcel.id)
    parcel.weigh(2)

    async with InMemoryUnitOfWork() as uow:
        await parcels.add(parcel, uow)
        assert await read_parcel(dispatcher, parcel.id, uow) == (2, 2, "anna: 2")


async def test_results_named_by_invalidate_with_are_invalidated(
    plain: PersistenceDispatcher, cache: InMemoryCacheService
) -> None:
    @dataclass(frozen=True)
    class Customer:
        id: str
        parcels: int

    class Customers(IPersistenceDispatcher):
        """Dispatcher with only the methods of the port."""

        async def apply(
            self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
        ) -> Any:
            counts[entity.owner] = counts.get(entity.owner, 0) + 1
            return await plain.apply(entity, uow, events)

        async def fetch_domain(
            self, entity_type: Any, ids: Any, uow: UnitOfWork | None = None
        ) -> list[Any]:
            return await plain.fetch_domain(entity_type, ids, uow)

        async def fetch(
            self, result_type: Any, criteria: Any, uow: UnitOfWork | None = None
        ) -> SearchResult[Any]:
            calls.append(criteria)
            return SearchResult.from_items([Customer(each, counts[each]) for each in criteria])

    calls: list[Any] = []
    counts: dict[str, int] = {}
    dispatcher = CachingPersistenceDispatcher(Customers(), cache)
    await dispatcher.apply(make_parcel("anna"))
    for _ in range(2):
        await (await dispatcher.fetch(Customer, ["anna"]))
    assert len(calls) == 2, "a result that no change invalidates was cached"

    dispatcher.invalidate_with(Parcel, Customer, ids=lambda parcel: [parcel.owner])
    for count in range(1, 4):
        for _ in range(2):
            (customer,) = await (await dispatcher.fetch(Customer, ["anna"]))
            assert customer.parcels == count
        await dispatcher.apply(make_parcel("anna"))

    assert len(calls) == 2 + 3


def test_invalidate_with_rejects_a_result_type_without_a_query_handler(
    dispatcher: CachingPersistenceDispatcher,
) -> None:
    with pytest.raises(HandlerNotRegisteredError, match=r"for .*ParcelSummary.*; call registry\."):
        dispatcher.invalidate_with(Parcel, BaseModel, ids=lambda parcel: [parcel.owner])


class Renamed(BaseModel):
    id: str
    name: str = Field(alias="fullName")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    id: str
    at: datetime
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    "result",
    [Renamed(id="a", fullName="ann"), Strict(id="a", at=datetime(2026, 1, 1), sizes=(1, 2))],
)
async def test_results_with_aliases_or_strict_fields_are_cached(
    cache: InMemoryCacheService, result: Any
) -> None:
    asked: list[Any] = []

    class Query:
        async def fetch(self, ids: Any, uow: UnitOfWork) -> list[Any]:
            asked.append(ids)
            return [result]

    registry = PersistenceRegistry()
    registry.register_query(type(result), Query)
    plain = PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)
    dispatcher = CachingPersistenceDispatcher(plain, cache)

    for _ in range(2):
        assert await (await dispatcher.fetch(type(result), ["a"])) == [result]

    assert asked == [["a"]]


@pytest.mark.parametrize("value", ["Ann Secret", object()])
def test_log_about_an_uncacheable_value_does_not_contain_the_value(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    form = ResultCodec(Renamed)

    assert form.encode(Renamed.model_construct(id="a", name=[value])) is None
    assert form.decode({"result": {"id": value, "fullName": [value]}}) is None

    assert "is unusable" in caplog.text
    assert "Secret" not in caplog.text
    assert "object at" not in caplog.text


async def test_excluded_types_are_not_cached(
    plain: PersistenceDispatcher, cache: InMemoryCacheService
) -> None:
    dispatcher = CachingPersistenceDispatcher(plain, cache, exclude=[Parcel, ParcelSummary])
    parcel = await store_parcel(dispatcher)

    await read_parcel(dispatcher, parcel.id)

    assert len(cache._values) == 1


async def test_result_without_a_known_id_is_cached_only_if_fetched_alone(
    cache: InMemoryCacheService,
) -> None:
    class Summary(BaseModel):
        order_id: str

    asked: list[Any] = []

    class Query:
        async def fetch(self, ids: Any, uow: UnitOfWork) -> list[Summary]:
            asked.append(ids)
            return [Summary(order_id=each) for each in reversed(ids)]

    registry = PersistenceRegistry()
    registry.register_query(Summary, Query)
    plain = PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)
    dispatcher = CachingPersistenceDispatcher(plain, cache)

    for _ in range(2):
        assert await (await dispatcher.fetch(Summary, ["a"])) == [Summary(order_id="a")]
        found = await (await dispatcher.fetch(Summary, ["a", "b"]))
        assert {each.order_id for each in found} == {"a", "b"}
    await (await dispatcher.fetch(Summary, ["b"]))

    assert await (await dispatcher.fetch(Summary, ["b", "a"])) == [
        Summary(order_id="b"),
        Summary(order_id="a"),
    ]
    assert asked == [["a"], ["a", "b"], ["a", "b"], ["b"]]


async def test_concurrent_cache_misses_share_one_load(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels
) -> None:
    ids = [(await store_parcel(dispatcher)).id for _ in range(3)]
    parcels.reads.clear()

    found = await asyncio.gather(
        *(dispatcher.fetch_domain(Parcel, ids[n % 2 : 2 + n % 2]) for n in range(300))
    )

    assert len(parcels.reads) == 2
    assert sum(len(asked or ()) for asked in parcels.reads) == 3
    assert len({id(parcel) for some in found for parcel in some}) == 600
    parcels.reads.clear()
    absent = await asyncio.gather(*(fetch_summaries(dispatcher, ["absent"]) for _ in range(300)))
    assert absent == [[]] * 300
    assert len(parcels.reads) <= 2


async def test_waiting_caller_takes_over_a_cancelled_cache_load(
    plain: PersistenceDispatcher, parcels: CountedParcels, cache: InMemoryCacheService
) -> None:
    slow = SlowDispatcher(parcels)
    dispatcher = CachingPersistenceDispatcher(slow, cache)
    parcel = await store_parcel(plain)
    first, *others = (
        asyncio.ensure_future(dispatcher.fetch_domain(Parcel, [parcel.id])) for _ in range(300)
    )
    await slow.has_read.wait()

    first.cancel()
    found = await asyncio.gather(*others)

    assert first.cancelled()
    assert [[each.id for each in some] for some in found] == [[parcel.id]] * 299
    assert parcels.reads == [[parcel.id]] * 2
    assert dispatcher._values._flights == {}


async def test_failed_cache_load_raises_its_error_for_callers_with_the_same_ids(
    plain: PersistenceDispatcher, parcels: CountedParcels, cache: InMemoryCacheService
) -> None:
    slow = SlowDispatcher(parcels, PersistenceError("the database is unavailable"))
    dispatcher = CachingPersistenceDispatcher(slow, cache)
    one, two = [(await store_parcel(plain)).id for _ in range(2)]
    both = [dispatcher.fetch_domain(Parcel, [one, two]) for _ in range(150)]
    asking = asyncio.gather(
        *both, *(dispatcher.fetch_domain(Parcel, [one]) for _ in range(150)), return_exceptions=True
    )
    await slow.has_read.wait()

    slow.may_return.set()
    found = await asking

    assert found[:150] == [slow.error] * 150
    assert [[each.id for each in some] for some in found[150:] if isinstance(some, list)] == [
        [one]
    ] * 150
    assert parcels.reads == [[one, two], [one]]
    assert dispatcher._values._flights == {}


class SlowDispatcher(PersistenceDispatcher):
    """Dispatcher that suspends its first load after the read, then returns or raises ``error``."""

    def __init__(self, parcels: CountedParcels, error: Exception | None = None) -> None:
        super().__init__({}, PersistenceRegistry())
        self._plain = in_memory_dispatcher(parcels)
        self.has_read, self.may_return = asyncio.Event(), asyncio.Event()
        self.error = error

    async def fetch_domain(
        self, entity_type: Any, ids: Any, uow: UnitOfWork | None = None
    ) -> list[Any]:
        found = await self._plain.fetch_domain(entity_type, ids, uow)
        if not self.has_read.is_set():
            self.has_read.set()
            await self.may_return.wait()
            if self.error is not None:
                raise self.error
        return found


async def test_caller_that_wrote_does_not_receive_a_load_from_before_its_write(
    plain: PersistenceDispatcher, parcels: CountedParcels, cache: InMemoryCacheService
) -> None:
    slow = SlowDispatcher(parcels)
    reader = CachingPersistenceDispatcher(slow, cache)
    # Stands for the dispatcher of another process.
    writer = CachingPersistenceDispatcher(plain, cache)
    parcel = await store_parcel(plain, grams=1)
    early = asyncio.ensure_future(reader.fetch_domain(Parcel, [parcel.id]))
    await slow.has_read.wait()

    parcel.weigh(2)
    await writer.apply(parcel)
    own = asyncio.ensure_future(reader.fetch_domain(Parcel, [parcel.id]))
    await asyncio.sleep(0.01)
    slow.may_return.set()

    assert [each.grams for each in await early] == [1]
    assert [each.grams for each in await own] == [2]
    assert [each.grams for each in await reader.fetch_domain(Parcel, [parcel.id])] == [2]


@pytest.mark.parametrize(("kind", "grams"), [(InMemoryCacheService, 2), (PlainCache, 1)])
async def test_cache_without_fill_leases_can_keep_a_load_that_raced_a_change_elsewhere(
    plain: PersistenceDispatcher, parcels: CountedParcels, kind: type[Any], grams: int
) -> None:
    slow, cache = SlowDispatcher(parcels), kind()
    reader, writer = (CachingPersistenceDispatcher(each, cache) for each in (slow, plain))
    parcel = await store_parcel(plain, grams=1)
    early = asyncio.ensure_future(reader.fetch_domain(Parcel, [parcel.id]))
    await slow.has_read.wait()

    parcel.weigh(2)
    await writer.apply(parcel)
    slow.may_return.set()
    await early

    assert [each.grams for each in await writer.fetch_domain(Parcel, [parcel.id])] == [grams]


async def test_expired_fill_leases_are_removed_from_memory() -> None:
    clock = FakeClock()
    cache = InProcessFillLeases(PlainCache(), clock)
    for number in range(5_000):
        await cache.lease_fill(f"absent {number}", 10)
        await clock.advance(0.1)

    assert len(cache._leases) <= 1_000


async def test_conflict_invalidates_the_stale_state_so_that_a_retry_reloads_it(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels
) -> None:
    parcel = await store_parcel(dispatcher, grams=1)
    await read_parcel(dispatcher, parcel.id)
    parcel.weigh(2)
    await parcels.add(parcel)  # Bypasses the dispatcher.

    (stale,) = await dispatcher.fetch_domain(Parcel, [parcel.id])
    stale.weigh(3)
    with pytest.raises(OptimisticConcurrencyError):
        await dispatcher.apply(stale)

    assert await read_parcel(dispatcher, parcel.id) == (2, 2, "anna: 2")


async def test_change_that_bypasses_the_dispatcher_is_visible_after_the_ttl(
    dispatcher: CachingPersistenceDispatcher, parcels: CountedParcels, clock: FakeClock
) -> None:
    parcel = await store_parcel(dispatcher, grams=1)
    await read_parcel(dispatcher, parcel.id)
    parcel.weigh(2)
    await parcels.add(parcel)
    assert await read_parcel(dispatcher, parcel.id) == (1, 1, "anna: 1")

    await clock.advance(300)

    assert await read_parcel(dispatcher, parcel.id) == (2, 2, "anna: 2")


class BrokenCache(PlainCache):
    """Cache that raises an error of its driver instead of a ``CacheError``."""

    async def get(self, *_: Any) -> Any | None:
        raise ConnectionError("no cache")

    async def set(self, *_: Any) -> None:
        raise ConnectionError("no cache")

    async def delete(self, *_: Any) -> None:
        raise ConnectionError("no cache")


async def test_failing_cache_is_logged_and_bypassed(
    plain: PersistenceDispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = CachingPersistenceDispatcher(plain, BrokenCache())
    parcel = await store_parcel(dispatcher, grams=0)

    for grams in (1, 2):
        async with InMemoryUnitOfWork() as uow:
            (found,) = await dispatcher.fetch_domain(Parcel, [parcel.id], uow=uow)
            found.weigh(grams)
            await dispatcher.apply(found, uow=uow)
        assert await read_parcel(dispatcher, parcel.id) == (grams, grams, f"anna: {grams}")

    for failed in ("read", "fill", "drop"):
        assert any(
            text.startswith(f"cannot {failed}") and "ConnectionError at " in text
            for text in caplog.messages
        ), failed


class ConcurrencyCountingCache(PlainCache):
    def __init__(self) -> None:
        super().__init__()
        self.running_reads = self.most_reads = 0

    async def get(self, key: str) -> Any | None:
        self.running_reads += 1
        self.most_reads = max(self.most_reads, self.running_reads)
        await asyncio.sleep(0)
        self.running_reads -= 1
        return await super().get(key)


async def test_fill_leases_read_many_keys_of_a_plain_cache_concurrently() -> None:
    cache = ConcurrencyCountingCache()
    leases = InProcessFillLeases(cache)
    keys = [f"k-{number}" for number in range(20)]
    for key in keys[1:]:
        await leases.set(key, key)

    found = await leases.get_many([*keys, *keys])

    assert found == {key: key for key in keys[1:]}
    assert cache.most_reads == 20


class SlowSetCache(PlainCache):
    def __init__(self) -> None:
        super().__init__()
        self.is_setting, self.may_set = asyncio.Event(), asyncio.Event()

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        self.is_setting.set()
        await self.may_set.wait()
        await super().set(key, value, ttl)


async def test_cache_fill_that_is_under_way_is_removed_by_clear() -> None:
    cache = SlowSetCache()
    leases = InProcessFillLeases(cache)
    lease = await leases.lease_fill("k", 30)
    assert lease is not None
    filling = asyncio.ensure_future(leases.fill("k", "old", lease))
    await cache.is_setting.wait()

    await leases.clear()
    cache.may_set.set()

    assert not await filling
    assert await leases.get("k") is None


async def test_delete_many_deletes_all_keys_before_it_raises_an_error() -> None:
    class FailingDeleteCache(PlainCache):
        async def delete(self, key: str) -> None:
            if key == "broken":
                raise CacheError("no connection")
            await asyncio.sleep(0)
            await super().delete(key)

    leases = InProcessFillLeases(FailingDeleteCache())
    await leases.set("k", 1)

    with pytest.raises(CacheError):
        await leases.delete_many(["broken", "k"])

    assert await leases.get("k") is None


class UndeletableCache(InMemoryCacheService):
    """Cache that fails to delete, as if the process crashed after the commit."""

    async def delete_many(self, keys: Sequence[str]) -> None:
        raise CacheError("no connection")


async def test_stale_state_after_a_failed_invalidation_cannot_be_saved(
    plain: PersistenceDispatcher, clock: FakeClock
) -> None:
    dispatcher = CachingPersistenceDispatcher(plain, UndeletableCache(clock), default_ttl=60)
    parcel = await store_parcel(dispatcher, grams=1)
    await read_parcel(dispatcher, parcel.id)
    parcel.weigh(2)
    await dispatcher.apply(parcel)

    (stale,) = await dispatcher.fetch_domain(Parcel, [parcel.id])
    assert stale.grams == 1
    stale.weigh(3)
    with pytest.raises(OptimisticConcurrencyError):
        await dispatcher.apply(stale)
    await clock.advance(60)

    assert await read_parcel(dispatcher, parcel.id) == (2, 2, "anna: 2")


async def test_invalid_value_in_the_cache_is_a_miss(
    dispatcher: CachingPersistenceDispatcher, cache: InMemoryCacheService
) -> None:
    parcel = await store_parcel(dispatcher, grams=1)
    await read_parcel(dispatcher, parcel.id)
    keys = [key for _, key in cache._values]
    assert len(keys) == 3

    values: list[Any] = ["text", 7, [], {}, {"result": {}}, {"version": 1, "state": {}}]
    for garbage in values:
        for key in keys:
            await cache.set(key, garbage)
        assert await read_parcel(dispatcher, parcel.id) == (1, 1, "anna: 1")


class Note(AggregateRoot[str]):
    content: Any = None
    secret: SecretStr | None = None


class Odd:
    pass


@pytest.mark.parametrize("result", [Odd(), {"a": 1}, ParcelLabel("p", "t")])
async def test_type_that_json_cannot_represent_is_read_without_the_cache(
    result: Any, cache: InMemoryCacheService, caplog: pytest.LogCaptureFixture
) -> None:
    class Notes:
        async def retrieve(self, ids: Any, uow: Any) -> Any:
            return [Note(id=each, secret=SecretStr("s")) for each in ids]

        async def fetch(self, ids: Any, uow: Any) -> Any:
            return [result for _ in ids]

    registry = PersistenceRegistry()
    registry.register_retrieval(Note, Notes)
    registry.register_query(type(result), Notes)
    plain = PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)
    dispatcher = CachingPersistenceDispatcher(plain, cache)

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (note,) = await dispatcher.fetch_domain(Note, ["n-1"])
            assert note.secret == SecretStr("s")
            assert await (await dispatcher.fetch(type(result), ["n-1", "n-2"])) == [result] * 2

    assert caplog.text.count("Note cannot be cached") == 1


async def test_result_that_json_would_change_is_not_cached(
    cache: InMemoryCacheService,
) -> None:
    class Loose(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        id: str
        content: Any = None

    class Query:
        async def fetch(self, ids: Any, uow: Any) -> list[Loose]:
            return [Loose(id=each, content={1, 2}) for each in ids]

    registry = PersistenceRegistry()
    registry.register_query(Loose, Query)
    plain = PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)
    dispatcher = CachingPersistenceDispatcher(plain, cache)

    found = await asyncio.gather(*(_fetch_all(dispatcher, Loose, ["a", "b"]) for _ in range(3)))

    assert [each.content for some in found for each in some] == [{1, 2}] * 6
    assert cache._values == {}


async def test_result_that_cannot_be_compared_is_not_cached(
    cache: InMemoryCacheService,
) -> None:
    class Cells:
        def __init__(self, numbers: object = None) -> None: ...

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("the truth of a matrix is ambiguous")

    class Matrix(BaseModel):
        id: str
        cells: Annotated[Cells, PlainValidator(Cells), PlainSerializer(lambda cells: 1)]

    class Query:
        async def fetch(self, ids: Any, uow: Any) -> list[Matrix]:
            return [Matrix(id=each, cells=Cells()) for each in ids]

    registry = PersistenceRegistry()
    registry.register_query(Matrix, Query)
    plain = PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)
    dispatcher = CachingPersistenceDispatcher(plain, cache)

    assert [each.id for each in await _fetch_all(dispatcher, Matrix, ["a"])] == ["a"]
    assert cache._values == {}


async def _fetch_all(dispatcher: Any, result_type: Any, ids: Iterable[str]) -> list[Any]:
    return list(await (await dispatcher.fetch(result_type, ids)))


async def test_similar_tenants_and_ids_have_different_cache_keys(
    dispatcher: CachingPersistenceDispatcher, cache: InMemoryCacheService
) -> None:
    form = dispatcher._codec_of(Parcel)
    assert form is not None
    keys = set()
    for tenant, each in (("a", "b:c"), ("a:b", "c"), (None, "c"), ("None", "c"), ("-", "c")):
        with request_context(tenant_id=tenant):
            keys.add(form.key(each))

    assert len(keys) == 5
    assert form.key(7) == form.key("7")


def test_caching_dispatcher_rejects_a_default_ttl_that_is_not_positive(
    plain: PersistenceDispatcher,
) -> None:
    for ttl in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="default_ttl must be positive"):
            CachingPersistenceDispatcher(plain, InMemoryCacheService(), default_ttl=ttl)
    CachingPersistenceDispatcher(plain, InMemoryCacheService(), default_ttl=None)


IDS = st.sampled_from(["p-1", "p-2", "p-3"])
STEPS = st.one_of(
    st.tuples(st.just("weigh"), IDS),
    st.tuples(st.just("read"), st.lists(IDS, max_size=4)),
    st.tuples(st.just("read in new context"), st.lists(IDS, max_size=4)),
    st.tuples(st.sampled_from(["begin", "commit", "roll back"]), st.none()),
)


@pytest.mark.parametrize("kind", [InMemoryCacheService, PlainCache])
@settings(max_examples=60, deadline=None, print_blob=True)
@given(steps=st.lists(STEPS, max_size=25))
def test_cache_returns_the_values_of_the_inner_dispatcher_after_any_operations(
    kind: type[Any], steps: list[tuple[str, Any]]
) -> None:
    asyncio.run(_compare(CachingPersistenceDispatcher, kind(), steps))


def test_comparison_catches_a_caching_dispatcher_that_returns_a_rolled_back_value() -> None:
    class UncommittedFillDispatcher(CachingPersistenceDispatcher):
        async def _read(self, type_: Any, ids: Any, load: Any, id_of: Any, current: Any) -> Any:
            return await super()._read(type_, ids, load, id_of, None)

    steps = [("begin", None), ("weigh", "p-1"), ("read", ["p-1"]), ("roll back", None)]
    with pytest.raises(AssertionError):
        asyncio.run(
            _compare(UncommittedFillDispatcher, InMemoryCacheService(), [*steps, ("read", ["p-1"])])
        )


async def _compare(
    kind: type[CachingPersistenceDispatcher], cache: Any, steps: list[tuple[str, Any]]
) -> None:
    plain = in_memory_dispatcher(CountedParcels())
    cached = kind(plain, cache)
    for each in ("p-1", "p-2"):
        await cached.apply(Parcel.register(each, "anna"))
    uow: UnitOfWork | None = None

    async def compare(ids: list[str], uow: UnitOfWork | None) -> None:
        assert await cached.fetch_domain(Parcel, ids, uow) == await plain.fetch_domain(
            Parcel, ids, uow
        )
        assert await fetch_summaries(cached, ids, uow) == await fetch_summaries(plain, ids, uow)

    for step, given_ids in steps:
        if step == "weigh":
            for parcel in await cached.fetch_domain(Parcel, [given_ids], uow):
                parcel.weigh(parcel.version + parcel.uncommitted_event_count)
                await cached.apply(parcel, uow)
        elif step == "read":
            await compare(given_ids, uow)
        elif step == "read in new context":
            await run_in_new_context(compare(given_ids, None))
        elif step == "begin":
            uow = uow or InMemoryUnitOfWork()
        elif uow is not None:
            await (uow.commit() if step == "commit" else uow.rollback())
            uow = None
