from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ConfigDict, Field, SecretStr

from cqrs_ddd_core import AggregateRoot, ValueObject
from cqrs_ddd_core.adapters.caching_mixin import CachingMixin
from cqrs_ddd_core.adapters.caching_repository import CachingRepository
from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryCacheService,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.adapters.tenant_repository import MultitenantMixin
from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.ports import IRepository, SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    CacheError,
    ConfigError,
    InvalidOperationError,
    OptimisticConcurrencyError,
)
from cqrs_ddd_core.spi.caching.aggregate_codec import AggregateCodec
from cqrs_ddd_core.spi.caching.fail_open_cache import FailOpenCache
from cqrs_ddd_core.spi.caching.read_through import ReadThrough
from cqrs_ddd_core.testing.contracts.bulk_repository import BulkRepositoryContract
from cqrs_ddd_core.testing.contracts.cache import CacheContract
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.contracts.repository import RepositoryContract
from tests.core.conftest import Equals, QueryOptions


class CountingParcels(InMemoryRepository[Parcel, str]):
    """Repository that counts its loads and can delay them."""

    def __init__(self) -> None:
        super().__init__(Parcel)
        self.loads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.loading = asyncio.Event()

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        self.loads += 1
        self.loading.set()
        found = await super().get(entity_id, uow)
        await self.gate.wait()
        return found


class CachedParcels(CachingMixin[Parcel, str], InMemoryRepository[Parcel, str]):
    def __init__(self) -> None:
        super().__init__(Parcel)
        self.use_cache(InMemoryCacheService(), Parcel)


class BrokenCache(InMemoryCacheService):
    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        raise CacheError("no connection")

    async def delete_many(self, keys: Sequence[str]) -> None:
        raise CacheError("no connection")

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        raise CacheError("no connection")


@pytest.fixture
def cache() -> InMemoryCacheService:
    return InMemoryCacheService()


@pytest.fixture
def inner() -> CountingParcels:
    return CountingParcels()


@pytest.fixture
def parcels(inner: CountingParcels, cache: InMemoryCacheService) -> CachingRepository[Parcel, str]:
    return CachingRepository(inner, cache, Parcel)


@pytest.fixture
def new_uow() -> Callable[[], InMemoryUnitOfWork]:
    return InMemoryUnitOfWork


class TestInMemoryCache(CacheContract):
    pass


class TestCachingRepository(RepositoryContract, BulkRepositoryContract):
    pass


class TestCachingMixin(RepositoryContract, BulkRepositoryContract):
    @pytest.fixture
    def parcels(self) -> CachedParcels:
        return CachedParcels()


async def _store_parcel(parcels: Any, parcel_id: str = "p-1") -> Parcel:
    await parcels.add(Parcel.register(parcel_id, "anna"))
    found = await parcels.get(parcel_id)
    assert isinstance(found, Parcel)
    return found


async def test_cache_hit_does_not_load_the_aggregate(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels
) -> None:
    first = await _store_parcel(parcels)
    again = await parcels.get("p-1")

    assert inner.loads == 1
    assert again == first
    assert again is not first
    assert again is not None
    assert again.version == 1


async def test_other_readers_of_a_cached_aggregate_see_a_change_after_its_commit(
    parcels: CachingRepository[Parcel, str],
) -> None:
    parcel = await _store_parcel(parcels)
    parcel.weigh(5)

    async with InMemoryUnitOfWork() as uow:
        await parcels.add(parcel, uow)
        own_view = await parcels.get("p-1", uow)
        async with InMemoryUnitOfWork() as other:
            other_view = await parcels.get("p-1", other)
    after = await parcels.get("p-1")

    assert own_view is not None
    assert own_view.grams == 5
    assert other_view is not None
    assert other_view.grams is None
    assert after is not None
    assert (after.grams, after.version) == (5, 2)


async def test_rolled_back_change_is_never_cached(
    parcels: CachingRepository[Parcel, str],
) -> None:
    parcel = await _store_parcel(parcels)
    parcel.weigh(5)

    async with InMemoryUnitOfWork() as uow:
        await parcels.add(parcel, uow)
        await parcels.get("p-1", uow)
        await uow.rollback()

    found = await parcels.get("p-1")
    assert found is not None
    assert found.grams is None


async def test_cache_fill_that_raced_a_change_is_dropped(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels
) -> None:
    parcel = await _store_parcel(inner)
    inner.gate.clear()
    inner.loading.clear()
    reading = asyncio.ensure_future(parcels.get("p-1"))
    await inner.loading.wait()
    await asyncio.sleep(0.01)
    parcel.weigh(5)
    await parcels.add(parcel)
    inner.gate.set()

    stale = await reading
    fresh = await parcels.get("p-1")

    assert stale is not None
    assert stale.grams is None
    assert fresh is not None
    assert fresh.grams == 5


async def test_race_check_catches_a_cache_without_fill_leases_that_keeps_a_stale_aggregate(
    inner: CountingParcels,
) -> None:
    class NoLeases(InMemoryCacheService):
        async def fill_many(
            self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
        ) -> Collection[str]:
            for key, value in values.items():
                await self.set(key, value, ttl)
            return list(values)

    parcels = CachingRepository(inner, NoLeases(), Parcel)
    with pytest.raises(AssertionError):
        await test_cache_fill_that_raced_a_change_is_dropped(parcels, inner)


async def test_concurrent_cache_misses_of_one_key_load_once(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels
) -> None:
    await _store_parcel(inner)
    inner.loads = 0

    found = await asyncio.gather(*(parcels.get("p-1") for _ in range(500)))

    assert inner.loads == 1
    assert len({id(parcel) for parcel in found}) == 500


async def test_unit_of_work_fills_the_cache_after_its_commit(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels
) -> None:
    await _store_parcel(inner)
    inner.loads = 0

    async with InMemoryUnitOfWork() as uow:
        await parcels.get("p-1", uow)
        await parcels.get("p-1")
        assert inner.loads == 2
    assert inner.loads == 3
    async with InMemoryUnitOfWork() as uow:
        assert await parcels.get("p-1", uow) is not None

    assert inner.loads == 3


async def test_unit_of_work_that_is_rolled_back_or_changes_what_it_read_fills_no_cache(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels
) -> None:
    await _store_parcel(inner)
    inner.loads = 0

    async with InMemoryUnitOfWork() as uow:
        await parcels.get("p-1", uow)
        await uow.rollback()
    async with InMemoryUnitOfWork() as uow:
        parcel = await parcels.get("p-1", uow)
        assert parcel is not None
        parcel.weigh(5)
        await parcels.add(parcel, uow)
    assert inner.loads == 2

    found = await parcels.get("p-1")

    assert found is not None
    assert (inner.loads, found.grams) == (3, 5)


async def test_cache_is_filled_after_the_commit_for_the_tenant_that_read(
    cache: InMemoryCacheService, inner: CountingParcels
) -> None:
    parcels = CachingRepository[Parcel, str](inner, cache, Parcel)
    await _store_parcel(inner)

    async with InMemoryUnitOfWork() as uow:
        with request_context(tenant_id="north"):
            await parcels.get("p-1", uow)
    inner.loads = 0

    with request_context(tenant_id="north"):
        await parcels.get("p-1")
    assert inner.loads == 0
    await parcels.get("p-1")
    assert inner.loads == 1


async def test_state_read_by_an_older_transaction_is_not_cached_after_a_change(
    cache: InMemoryCacheService,
) -> None:
    class Snapshots(InMemoryRepository[Parcel, str]):
        """Repository with the isolation level REPEATABLE READ."""

        async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
            return await super().get(entity_id) if uow is None else before

    inner = Snapshots(Parcel)
    parcels = CachingRepository[Parcel, str](inner, cache, Parcel)
    before = await _store_parcel(inner)
    changed = await inner.get("p-1")
    assert changed is not None
    changed.weigh(5)
    async with InMemoryUnitOfWork() as uow:
        await asyncio.create_task(_add_in_own_transaction(parcels, changed))
        await parcels.get("p-1", uow)

    found = await parcels.get("p-1")

    assert found is not None
    assert found.grams == 5


async def _add_in_own_transaction(parcels: Any, parcel: Parcel) -> None:
    async with InMemoryUnitOfWork() as own:
        await parcels.add(parcel, own)


class Letter(AggregateRoot[str]):
    content: Any = None
    pages: int = Field(default=1, alias="sheets")


@pytest.mark.parametrize(
    "content", [b"\xff", object(), "\ud800", float("inf"), {1, 2}, Parcel.register("p-1", "anna")]
)
async def test_aggregate_that_changes_in_a_json_round_trip_is_not_cached(
    content: object, cache: InMemoryCacheService, caplog: pytest.LogCaptureFixture
) -> None:
    inner = InMemoryRepository[Letter, str](Letter)
    letters = CachingRepository[Letter, str](inner, cache, Letter)
    await inner.add(Letter.model_construct(id="l-1", content=content, pages=1))

    for _ in range(2):
        found = await letters.get("l-1")

        assert found is not None
        assert type(found.content) is type(content)
    assert "cannot" in caplog.text


class Ribbon(ValueObject):
    cm: int

    @cached_property
    def inches(self) -> float:
        return self.cm / 2.54


class Gift(AggregateRoot[str]):
    cents: int = 0
    ribbon: Ribbon = Ribbon(cm=10)
    card: Any = None  # Such a field makes the codec compare the state with its round trip.

    @cached_property
    def euros(self) -> float:
        return self.cents / 100


async def test_aggregate_with_computed_cached_properties_is_cached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gift = Gift(id="g-1", cents=250, card="Ann")
    assert (gift.euros, round(gift.ribbon.inches)) == (2.5, 4)
    codec = AggregateCodec(Gift)

    state = codec.encode(gift)

    restored = codec.decode(state)
    assert restored is not None
    assert (restored.cents, restored.ribbon) == (250, gift.ribbon)
    assert caplog.messages == []


async def test_cached_field_with_an_alias_keeps_its_value(
    cache: InMemoryCacheService,
) -> None:
    inner = InMemoryRepository[Letter, str](Letter)
    letters = CachingRepository[Letter, str](inner, cache, Letter)
    await letters.add(Letter(id="l-1", sheets=3))

    for _ in range(2):
        found = await letters.get("l-1")

        assert found is not None
        assert found.pages == 3


def test_aggregate_type_with_fields_missing_in_json_cannot_be_cached(
    inner: InMemoryRepository[Any, str], cache: InMemoryCacheService
) -> None:
    class Account(AggregateRoot[str]):
        password: SecretStr
        attempts: int = Field(default=0, exclude=True)

    with pytest.raises(ConfigError, match="Account cannot be cached, .* Account.password"):
        CachingRepository[Account, str](inner, cache, Account)


async def test_cancelled_load_does_not_block_other_readers_of_the_cache(
    inner: CountingParcels, cache: InMemoryCacheService
) -> None:
    parcels = CachingRepository(inner, cache, Parcel)
    await _store_parcel(inner)
    inner.loads = 0
    inner.gate.clear()
    inner.loading.clear()
    leader = asyncio.ensure_future(parcels.get("p-1"))
    await inner.loading.wait()
    follower = asyncio.ensure_future(parcels.get("p-1"))
    await asyncio.sleep(0.01)
    leader.cancel()
    inner.gate.set()

    found = await follower

    assert leader.cancelled()
    assert found is not None
    assert inner.loads == 2


async def test_conflict_invalidates_the_cached_aggregate_so_that_a_retry_reloads_it(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels
) -> None:
    await _store_parcel(parcels)
    uncached = await inner.get("p-1")
    assert uncached is not None
    uncached.weigh(1)
    await inner.add(uncached)

    for _ in range(2):
        parcel = await parcels.get("p-1")
        assert parcel is not None
        parcel.weigh((parcel.grams or 0) + 1)
        try:
            await parcels.add(parcel)
        except OptimisticConcurrencyError:
            continue

    found = await parcels.get("p-1")
    assert found is not None
    assert found.grams == 2


async def test_cached_aggregate_expires_after_its_ttl(inner: CountingParcels) -> None:
    clock = FakeClock()
    parcels = CachingRepository(inner, InMemoryCacheService(clock), Parcel, default_ttl=60)
    await _store_parcel(parcels)

    await clock.advance(59)
    await parcels.get("p-1")
    assert inner.loads == 1
    await clock.advance(2)
    await parcels.get("p-1")

    assert inner.loads == 2


async def test_caching_repository_loads_and_saves_aggregates_while_the_cache_fails(
    inner: CountingParcels, caplog: pytest.LogCaptureFixture
) -> None:
    parcels = CachingRepository(inner, BrokenCache(), Parcel)
    parcel = await _store_parcel(parcels)
    parcel.weigh(5)
    await parcels.add(parcel)

    found = await parcels.get("p-1")

    assert found is not None
    assert found.grams == 5
    assert "no connection" in caplog.text


async def test_log_of_a_cache_failure_names_the_first_key_and_the_number_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache, keys = FailOpenCache(BrokenCache(), 60), [f"key-{number}" for number in range(100)]

    await cache.read(keys)
    await cache.drop(keys)
    await cache.lease(keys[:1])

    assert [record.getMessage() for record in caplog.records] == [
        "cannot read key-0 and 99 more: CacheError: no connection",
        "cannot drop key-0 and 99 more: CacheError: no connection; "
        "it stays cached until its ttl ends",
        "cannot fill key-0: CacheError: no connection",
    ]


async def test_changed_aggregate_class_uses_different_cache_keys(
    inner: CountingParcels, cache: InMemoryCacheService
) -> None:
    class Changed(Parcel):
        aggregate_type = "Parcel"
        added: int = 0

    old = CachingRepository(inner, cache, Parcel)
    new = CachingRepository[Any, str](inner, cache, Changed)

    assert old._states.key("p-1") != new._states.key("p-1")


async def test_undecodable_cache_entry_is_a_miss(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels, cache: InMemoryCacheService
) -> None:
    await _store_parcel(parcels)
    for garbage in ("text", {"version": 1}, {"state": {}, "version": 1}, 0):
        await cache.set(parcels._states.key("p-1"), garbage)

        found = await parcels.get("p-1")

        assert found is not None


class Renamed(AggregateRoot[str]):
    name: str = Field(alias="fullName", default="")


class Strict(AggregateRoot[UUID]):
    model_config = ConfigDict(strict=True)
    name: str = ""
    at: datetime = datetime(2026, 1, 1)
    sizes: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    "aggregate", [Renamed(id="a", fullName="ann"), Strict(id=uuid4(), name="ann")]
)
async def test_aggregates_with_aliases_or_strict_types_are_read_from_the_cache(
    aggregate: Any, cache: InMemoryCacheService
) -> None:
    inner = InMemoryRepository[Any, Any](type(aggregate))
    aggregates = CachingRepository(inner, cache, type(aggregate))
    await aggregates.add(aggregate)
    await aggregates.get(aggregate.id)
    await inner.delete(aggregate.id)

    assert await aggregates.get(aggregate.id) == aggregate


def test_log_of_an_undecodable_cache_entry_omits_its_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    states = AggregateCodec(Renamed)

    assert states.decode({"version": 1, "state": {"id": "a", "fullName": ["Ann Secret"]}}) is None

    assert "(fullName: string_type)" in caplog.text
    assert "Secret" not in caplog.text


class Document(AggregateRoot[str]):
    title: str
    tenant_id: str | None = None


class Documents(
    MultitenantMixin[Document, str], CachingMixin[Document, str], InMemoryRepository[Document, str]
):
    def __init__(self) -> None:
        super().__init__(Document)
        self.use_cache(InMemoryCacheService(), Document)


@pytest.fixture
async def documents() -> Documents:
    documents = Documents()
    for tenant, title in (("one", "a"), ("two", "b"), ("one", "c")):
        with request_context(tenant_id=tenant):
            await documents.add(Document(id=title, title=title))
    return documents


async def test_tenant_reads_only_its_own_aggregates(documents: Documents) -> None:
    with request_context(tenant_id="one"):
        everything: Any = Equals("title", "b")
        assert (await documents.get("a")) is not None
        assert (await documents.get("a")) is not None
        assert await documents.get("b") is None
        assert {d.id for d in await documents.list_all()} == {"a", "c"}
        assert [d.id for d in await documents.list_all(["b", "c"])] == ["c"]
        assert await (await documents.search(everything)) == []
        page: Any = QueryOptions(None, ordering=("-title",), limit=1)
        assert [d.id for d in await (await documents.search(page))] == ["c"]


async def test_tenant_changes_only_its_own_aggregates(documents: Documents) -> None:
    with request_context(tenant_id="one"):
        mine = await documents.get("a")
        assert mine is not None
        mine.title = "changed"
        await documents.add(mine)
        await documents.delete("b")
    with request_context(tenant_id="two"):
        theirs = await documents.get("b")
        assert theirs is not None
        with pytest.raises(InvalidOperationError, match="belongs to another tenant"):
            await documents.add(mine)

    with request_context(tenant_id="one"):
        found = await documents.get("a")
        assert found is not None
        assert found.title == "changed"


async def test_aggregate_that_lost_its_tenant_id_is_not_claimed_by_another_tenant(
    documents: Documents,
) -> None:
    with request_context(tenant_id="one"):
        theirs = await documents.get("a")
    assert theirs is not None
    theirs.tenant_id = None

    with request_context(tenant_id="two"):
        for save in (documents.add(theirs), documents.add_many([theirs])):
            with pytest.raises(InvalidOperationError, match="its tenant_id was removed"):
                await save

        assert [d.id for d in await documents.list_all()] == ["b"]
    assert theirs.tenant_id is None


async def test_new_aggregate_that_could_not_be_saved_gets_no_tenant(documents: Documents) -> None:
    taken, new = Document(id="a", title="taken"), Document(id="f", title="f")

    with request_context(tenant_id="two"):
        for save in (documents.add(taken), documents.add_many([new, taken])):
            with pytest.raises(OptimisticConcurrencyError):
                await save

    assert (taken.tenant_id, new.tenant_id) == (None, None)


async def test_saved_aggregate_keeps_its_tenant_if_add_is_cancelled_after_the_save() -> None:
    class LosesReplies(InMemoryRepository[Document, str]):
        async def add(self, entity: Document, uow: UnitOfWork | None = None) -> str:
            await super().add(entity, uow)
            raise asyncio.CancelledError

    class DocumentsWithLostReplies(MultitenantMixin[Document, str], LosesReplies):
        pass

    document = Document(id="a", title="a")
    with request_context(tenant_id="one"), pytest.raises(asyncio.CancelledError):
        await DocumentsWithLostReplies(Document).add(document)

    assert (document.tenant_id, document.version) == ("one", 1)


async def test_add_many_rejects_the_whole_list_if_one_aggregate_has_another_tenant(
    documents: Documents,
) -> None:
    with request_context(tenant_id="one"):
        await documents.add_many([Document(id="d", title="d"), Document(id="e", title="e")])
        new, theirs = Document(id="f", title="f"), Document(id="g", title="g", tenant_id="two")
        with pytest.raises(InvalidOperationError, match="g belongs to another tenant"):
            await documents.add_many([new, theirs])

        assert {d.id for d in await documents.list_all()} == {"a", "c", "d", "e"}
        assert new.tenant_id is None
    with request_context(tenant_id="two"):
        assert [d.id for d in await documents.list_all()] == ["b"]


async def test_add_many_invalidates_the_cache_for_every_saved_aggregate(
    documents: Documents,
) -> None:
    with request_context(tenant_id="one"):
        both = [await documents.get("a"), await documents.get("c")]
        changed = [document for document in both if document is not None]
        for document in changed:
            document.title = "changed"
        await documents.add_many(changed)

        found = [await documents.get("a"), await documents.get("c")]

    assert [document and document.title for document in found] == ["changed", "changed"]


async def test_add_many_is_rejected_if_the_wrapped_repository_lacks_it() -> None:
    class OneByOne(IRepository[Document, str]):
        def __init__(self) -> None:
            self.inner = InMemoryRepository[Document, str](Document)

        async def add(self, entity: Document, uow: UnitOfWork | None = None) -> str:
            return await self.inner.add(entity, uow)

        async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Document | None:
            return await self.inner.get(entity_id, uow)

        async def delete(self, entity_id: str, uow: UnitOfWork | None = None) -> str:
            return await self.inner.delete(entity_id, uow)

        async def list_all(
            self, entity_ids: list[str] | None = None, uow: UnitOfWork | None = None
        ) -> list[Document]:
            return await self.inner.list_all(entity_ids, uow)

        async def search(
            self, criteria: Any, uow: UnitOfWork | None = None
        ) -> SearchResult[Document]:
            return await self.inner.search(criteria, uow)

    class LayeredDocuments(MultitenantMixin[Document, str], CachingMixin[Document, str], OneByOne):
        pass

    with request_context(tenant_id="one"):
        documents = LayeredDocuments()
        await documents.add(Document(id="a", title="a"))
        assert [document.id for document in await documents.list_all()] == ["a"]
        with pytest.raises(
            InvalidOperationError, match="wrapped by LayeredDocuments has no add_many"
        ):
            await documents.add_many([Document(id="b", title="b")])

    cached = CachingRepository[Document, str](OneByOne(), InMemoryCacheService(), Document)
    with pytest.raises(InvalidOperationError, match="has no add_many; call add for each"):
        await cached.add_many([Document(id="b", title="b")])


async def test_same_id_of_two_tenants_has_separate_cache_keys(documents: Documents) -> None:
    with request_context(tenant_id="one"):
        assert await documents.get("a") is not None
    with request_context(tenant_id="two"):
        assert await documents.get("a") is None


async def test_multitenant_repository_rejects_every_call_without_a_tenant(
    documents: Documents,
) -> None:
    asked: list[Callable[[], Any]] = [
        lambda: documents.get("a"),
        lambda: documents.list_all(),
        lambda: documents.search(Equals("title", "a")),
        lambda: documents.delete("a"),
        lambda: documents.add(Document(id="x", title="x")),
    ]
    for ask in asked:
        with pytest.raises(InvalidOperationError, match=r"request_context\(tenant_id"):
            await ask()


async def test_multitenant_repository_rejects_an_aggregate_without_tenant_id() -> None:
    class ParcelsByTenant(MultitenantMixin[Parcel, str], InMemoryRepository[Parcel, str]):
        pass

    with (
        request_context(tenant_id="one"),
        pytest.raises(InvalidOperationError, match="Parcel has no tenant_id"),
    ):
        await ParcelsByTenant(Parcel).add(Parcel.register("p-1", "anna"))


async def test_caller_that_wrote_an_aggregate_gets_no_state_loaded_before_its_write(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels
) -> None:
    parcel = await _store_parcel(inner)
    inner.gate.clear()
    inner.loading.clear()
    early = asyncio.ensure_future(parcels.get("p-1"))
    await inner.loading.wait()
    await asyncio.sleep(0.01)

    parcel.weigh(5)
    await parcels.add(parcel)
    own = asyncio.ensure_future(parcels.get("p-1"))
    await asyncio.sleep(0.01)
    inner.gate.set()

    before, after = await early, await own
    assert before is not None
    assert before.grams is None
    assert after is not None
    assert after.grams == 5


def test_tenants_and_ids_that_concatenate_alike_have_separate_cache_keys(
    parcels: CachingRepository[Parcel, str],
) -> None:
    keys = set()
    for tenant, parcel_id in (("a", "b:c"), ("a:b", "c"), (None, "c"), ("-", "c")):
        with request_context(tenant_id=tenant):
            keys.add(parcels._states.key(parcel_id))

    assert len(keys) == 4


class JoinsAnyLoad(ReadThrough):
    """Wrong variant: waits for any running load and uses its result."""

    async def drop(self, keys: Iterable[str]) -> None:
        await self._cache.drop(list(keys))

    async def _load_together(
        self, codec: Any, missing: list[Any], load: Any, id_of: Any
    ) -> list[Any]:
        flight = self._flights.get(codec.key(missing[0]))
        if flight is None:
            return await self._lead(codec, missing, load, id_of)
        landed: Any = await flight
        return [codec.decode(landed.state)]


async def test_own_write_check_catches_a_cache_whose_waiters_join_an_older_load(
    parcels: CachingRepository[Parcel, str], inner: CountingParcels
) -> None:
    parcels._states._values = JoinsAnyLoad(parcels._states._values._cache)
    with pytest.raises(AssertionError):
        await test_caller_that_wrote_an_aggregate_gets_no_state_loaded_before_its_write(
            parcels, inner
        )
