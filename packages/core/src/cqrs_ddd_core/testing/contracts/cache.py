"""Contract of caches."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from ...ports.cache import IVersionedCache
from ...primitives.exceptions import InvalidOperationError, SerializationError
from ..assertions import EXACT_JSON, raises
from ..faults import cancel_sweep
from .tenancy import CacheTenancyContract


class CacheContract(CacheTenancyContract):
    """Contract of ``IVersionedCache``.

    Fixtures:
        cache: The cache under test.
    """

    async def test_cache_returns_a_value_as_an_independent_json_copy(
        self, cache: IVersionedCache
    ) -> None:
        key = _key()
        value = {"text": "naïve ☃", "list": [1, None, {"x": 0.5}], "large": 2**60}
        await cache.set(key, value)
        value["text"] = "changed"

        one, two = await cache.get(key), await cache.get(key)
        assert one == two == {**value, "text": "naïve ☃"}
        assert one is not None
        one["list"].append("changed")

        assert await cache.get(key) == two

    async def test_cache_returns_json_unchanged(self, cache: IVersionedCache) -> None:
        key = _key()
        await cache.set(key, EXACT_JSON)

        assert repr(await cache.get(key)) == repr(EXACT_JSON)

    async def test_cache_returns_none_for_absent_and_deleted_keys(
        self, cache: IVersionedCache
    ) -> None:
        key = _key()
        assert await cache.get(key) is None
        await cache.set(key, 1)
        await cache.set(key, 2)
        assert await cache.get(key) == 2

        await cache.delete(key)
        await cache.delete(key)

        assert await cache.get(key) is None

    async def test_get_many_returns_the_values_of_the_present_keys_only(
        self, cache: IVersionedCache
    ) -> None:
        one, two, absent = _key(), _key(), _key()
        await cache.set(one, 1)
        await cache.set(two, [2])

        assert dict(await cache.get_many([one, absent, two, one])) == {one: 1, two: [2]}
        assert dict(await cache.get_many([])) == {}

    async def test_clear_removes_all_cached_values_and_fill_leases(
        self, cache: IVersionedCache
    ) -> None:
        key, other = _key(), _key()
        await cache.set(key, 1)
        lease = await cache.lease_fill(other, 30)
        assert lease is not None

        await cache.clear()

        assert await cache.get(key) is None
        assert not await cache.fill(other, 1, lease)
        assert await cache.lease_fill(other, 30) is not None

    async def test_cached_value_expires_after_its_ttl(self, cache: IVersionedCache) -> None:
        short, long = _key(), _key()
        await cache.set(short, 1, ttl=0.05)
        await cache.set(long, 1, ttl=60)

        await asyncio.sleep(0.1)

        assert await cache.get(short) is None
        assert dict(await cache.get_many([short, long])) == {long: 1}

    async def test_cache_grants_one_fill_lease_per_key_at_a_time(
        self, cache: IVersionedCache
    ) -> None:
        key = _key()

        leases = await asyncio.gather(*(cache.lease_fill(key, 30) for _ in range(5)))

        granted = [lease for lease in leases if lease is not None]
        assert len(granted) == 1
        lease = granted[0]
        assert await cache.fill(key, "value", lease)
        assert await cache.get(key) == "value"
        assert not await cache.fill(key, "again", lease)
        assert await cache.lease_fill(key, 30) is not None

    async def test_cache_drops_a_fill_that_raced_a_write_or_an_invalidation(
        self, cache: IVersionedCache
    ) -> None:
        deleted, written = _key(), _key()
        leases = [await cache.lease_fill(key, 30) for key in (deleted, written)]
        await cache.delete(deleted)
        await cache.set(written, "new")

        for key, lease in zip((deleted, written), leases, strict=True):
            assert lease is not None
            assert not await cache.fill(key, "old", lease)

        assert await cache.get(deleted) is None
        assert await cache.get(written) == "new"

    async def test_expired_fill_lease_cannot_fill_and_is_granted_to_the_next_caller(
        self, cache: IVersionedCache
    ) -> None:
        key = _key()
        old = await cache.lease_fill(key, 0.02)
        assert old is not None
        await asyncio.sleep(0.05)

        new = await cache.lease_fill(key, 30)

        assert new is not None
        assert not await cache.fill(key, "old", old)
        assert await cache.fill(key, "new", new)

    async def test_cache_leases_and_fills_several_keys_in_one_call(
        self, cache: IVersionedCache
    ) -> None:
        one, two, held = _key(), _key(), _key()
        assert await cache.lease_fill(held, 30) is not None

        leases = await cache.lease_many([one, held, two, one], 30)
        taken = await cache.fill_many({one: 1, two: [2]}, leases, 60)

        assert set(leases) == {one, two}
        assert set(taken) == {one, two}
        assert dict(await cache.get_many([one, held, two])) == {one: 1, two: [2]}
        assert set(await cache.lease_many([one, held, two], 30)) == {one, two}

    async def test_fill_many_values_expire_after_their_ttl(self, cache: IVersionedCache) -> None:
        keys = [_key(), _key()]
        leases = await cache.lease_many(keys, 30)
        await cache.fill_many(dict.fromkeys(keys, 1), leases, 0.05)

        await asyncio.sleep(0.1)

        assert dict(await cache.get_many(keys)) == {}

    async def test_fill_many_drops_only_the_keys_that_changed_since_they_were_leased(
        self, cache: IVersionedCache
    ) -> None:
        deleted, written, untouched = _key(), _key(), _key()
        leases = await cache.lease_many([deleted, written, untouched], 30)
        await cache.delete(deleted)
        await cache.set(written, "new")

        taken = await cache.fill_many(dict.fromkeys([deleted, written, untouched], "old"), leases)

        assert list(taken) == [untouched]
        found = await cache.get_many([deleted, written, untouched])
        assert dict(found) == {written: "new", untouched: "old"}

    async def test_delete_many_removes_cached_values_and_fill_leases(
        self, cache: IVersionedCache
    ) -> None:
        one, two, leased, other = _key(), _key(), _key(), _key()
        for key in (one, two, other):
            await cache.set(key, 1)
        lease = await cache.lease_fill(leased, 30)
        assert lease is not None

        await cache.delete_many([one, leased, two, one])

        assert dict(await cache.get_many([one, two, other])) == {other: 1}
        assert not await cache.fill(leased, 1, lease)

    async def test_cache_batch_methods_accept_no_keys(self, cache: IVersionedCache) -> None:
        await cache.delete_many([])

        assert dict(await cache.lease_many([], 30)) == {}
        assert list(await cache.fill_many({}, {})) == []

    async def test_cache_rejects_a_fill_with_an_empty_lease(self, cache: IVersionedCache) -> None:
        key = _key()

        assert not await cache.fill(key, 1, "")
        assert list(await cache.fill_many({key: 1}, {key: ""})) == []
        assert await cache.lease_fill(key, 30) is not None
        assert not await cache.fill(key, 1, "")

        assert await cache.get(key) is None

    async def test_cancelled_cache_fill_leaves_the_value_or_none(
        self, cache: IVersionedCache
    ) -> None:
        key = _key()

        async def work() -> None:
            lease = await cache.lease_fill(key, 30)
            assert lease is not None
            await cache.fill(key, "value", lease)

        async def check() -> None:
            assert await cache.get(key) in (None, "value")
            await cache.delete(key)

        assert await cancel_sweep(work, check) > 0

    async def test_cancelled_cache_batch_leaves_only_values_that_were_written(
        self, cache: IVersionedCache
    ) -> None:
        kept, deleted, filled = _key(), _key(), _key()

        async def work() -> None:
            await cache.set(kept, "new")
            await cache.set(deleted, "value")
            leases = await cache.lease_many([deleted, filled], 30)
            await cache.delete_many([deleted])
            await cache.fill_many(dict.fromkeys(leases, "filled"), leases)

        async def check() -> None:
            assert await cache.get(kept) in (None, "new")
            assert await cache.get(deleted) in (None, "value")
            assert await cache.get(filled) in (None, "filled")
            await cache.delete_many([kept, deleted, filled])
            assert dict(await cache.get_many([kept, deleted, filled])) == {}
            assert set(await cache.lease_many([kept], 30)) == {kept}
            await cache.delete(kept)

        assert await cancel_sweep(work, check) > 0

    async def test_cache_rejects_invalid_keys_ttls_and_values(self, cache: IVersionedCache) -> None:
        unusable: list[Any] = ["", None, 7, ["unhashable"], "half of a pair \ud83d"]
        for key in unusable:
            with raises(InvalidOperationError):
                await cache.get(key)
            with raises(InvalidOperationError):
                await cache.set(key, 1)
            with raises(InvalidOperationError):
                await cache.get_many(["key", key])
            with raises(InvalidOperationError):
                await cache.delete_many([key])
            with raises(InvalidOperationError):
                await cache.lease_many([key], 30)
        for ttl in (0, -1.0, float("nan")):
            with raises(InvalidOperationError):
                await cache.set(_key(), 1, ttl=ttl)
            with raises(InvalidOperationError):
                await cache.lease_fill(_key(), ttl)
        with raises(SerializationError):
            await cache.set(_key(), object())
        with raises(SerializationError):
            await cache.fill(_key(), object(), "lease")
        with raises(InvalidOperationError):
            await cache.fill_many({_key(): 1}, {})


_numbers = count(1)


def _key() -> str:
    """Return a key that no other test of this process uses."""
    return f"key-{next(_numbers)}"
