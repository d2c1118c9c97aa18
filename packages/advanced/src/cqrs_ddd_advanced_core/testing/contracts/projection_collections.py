"""Contract of collections: creation, deletion, truncation and replacement."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    ValidationError,
)
from cqrs_ddd_core.testing.assertions import raises

from ...exceptions import ProjectionStoreError
from ...ports.projections import IProjectionStore
from .documents import (
    FIELDS,
    NewUnitOfWork,
    Options,
    Where,
    all_documents,
    create_collection,
    new_collection,
)


class CollectionsContract:
    """Collection part of ``ProjectionStoreContract``, with the same fixtures."""

    async def test_invalid_collection_names_and_field_types_are_rejected(
        self, store: IProjectionStore
    ) -> None:
        longest = "c" * 39 + new_collection()[-9:].zfill(9)
        await store.ensure_collection(longest)
        await store.upsert(longest, "one", {})

        for collection in ("", "Orders", "1st", "a-b", "a b", 'a"b', "ä", "c" * 49, longest + "c"):
            with raises(ProjectionStoreError):
                await store.ensure_collection(collection)
            with raises(ProjectionStoreError):
                await store.get(collection, "one")
        for fields in ({"": str}, {"_a": str}, {"a b": str}, {"a": str, "A": str}, {"doc_id": str}):
            with raises(ConfigError):
                await store.ensure_collection(new_collection(), fields)
        for unfit in (object, bytes, "str", str | int):
            with raises(ConfigError):
                await store.ensure_collection(new_collection(), {"a": unfit})

    async def test_operations_on_a_collection_that_does_not_exist_are_rejected(
        self, store: IProjectionStore, new_uow: NewUnitOfWork, where: Where
    ) -> None:
        collection = new_collection()

        with raises(ProjectionStoreError):
            await store.upsert(collection, "one", {})
        with raises(ProjectionStoreError):
            await store.get(collection, "one")
        with raises(ProjectionStoreError):
            await (await store.find(collection, where("doc_id", "=", "one")))
        with raises(ProjectionStoreError):
            await store.delete(collection, "one")
        with raises(ProjectionStoreError):
            await store.truncate_collection(collection)
        with raises(ProjectionStoreError):
            async with new_uow() as uow:
                await store.replace_collection(await create_collection(store), collection, uow=uow)

    async def test_ensuring_an_existing_collection_keeps_it_or_rejects_other_fields(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store, customer=str, total=Decimal)
        await store.upsert(collection, "one", {"customer": "anna"})

        await store.ensure_collection(collection, {"total": Decimal, "customer": str | None})

        await store.ensure_collection(collection)
        for other in ({}, {"customer": str}, {"customer": str, "total": int}):
            with raises(ProjectionStoreError):
                await store.ensure_collection(collection, other)
        assert await all_documents(store, collection) == [{"customer": "anna"}]

    async def test_opening_a_collection_creates_it_in_the_unit_of_work_or_keeps_its_fields(
        self, store: IProjectionStore, new_uow: NewUnitOfWork, where: Where
    ) -> None:
        collection = new_collection()

        async with new_uow() as uow:
            assert await store.open_collection(collection, {"customer": str}, uow=uow)
            await store.upsert(collection, "one", {"customer": "anna"}, uow=uow)
            assert await store.open_collection(collection, {"customer": int}, uow=uow)
        assert await (await store.find(collection, where("customer", "=", "anna"))) == [
            {"customer": "anna"}
        ]
        with raises(ConfigError):
            async with new_uow() as uow:
                await store.open_collection(new_collection(), {"a": object}, uow=uow)

    async def test_many_callers_can_open_a_new_collection_at_once(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = new_collection()

        async def open_and_write(number: int) -> None:
            async with new_uow() as uow:
                assert await store.open_collection(collection, FIELDS, uow=uow)
                await store.upsert(collection, str(number), {"customer": "anna"}, uow=uow)

        await asyncio.gather(*(open_and_write(number) for number in range(8)))

        assert await all_documents(store, collection) == [{"customer": "anna"}] * 8

    async def test_many_callers_can_ensure_the_same_collection_at_once(
        self, store: IProjectionStore
    ) -> None:
        collection = new_collection()

        await asyncio.gather(*(store.ensure_collection(collection, FIELDS) for _ in range(16)))
        await store.upsert(collection, "one", {"customer": "anna"})

        assert await all_documents(store, collection) == [{"customer": "anna"}]

    async def test_dropped_collection_is_gone_and_can_be_created_with_other_fields(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store, customer=str)
        await store.upsert(collection, "one", {"customer": "anna"})

        with raises(LookupError):
            async with new_uow() as uow:
                await store.drop_collection(collection, uow=uow)
                raise LookupError
        assert await store.get(collection, "one") == {"customer": "anna"}
        for _ in range(2):
            async with new_uow() as uow:
                await store.drop_collection(collection, uow=uow)

        with raises(ProjectionStoreError):
            await store.get(collection, "one")
        await store.ensure_collection(collection, {"lines": int})
        await store.upsert(collection, "two", {"lines": 2})
        assert await all_documents(store, collection) == [{"lines": 2}]

    async def test_truncated_collection_is_empty_for_others_only_after_the_commit(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        await store.upsert_batch(collection, {each: {"is": each} for each in "abc"})

        async with new_uow() as uow:
            await store.truncate_collection(collection, uow=uow)
            await store.upsert(collection, "new", {"is": "new"}, uow=uow)
            async with new_uow() as other:
                found = await store.get_batch(collection, ["a", "b", "c", "new"], uow=other)

        assert list(found) == ["a", "b", "c"]
        assert await all_documents(store, collection) == [{"is": "new"}]

    async def test_replaced_collection_has_the_new_documents_and_fields_at_the_commit(
        self, store: IProjectionStore, new_uow: NewUnitOfWork, where: Where
    ) -> None:
        live = await create_collection(store, customer=str)
        new = await create_collection(store, total=int)
        await store.upsert_batch(live, {"a": {"customer": "anna"}, "b": {"customer": "berta"}})
        await store.upsert(new, "a", {"total": 7})

        async with new_uow() as uow:
            await store.replace_collection(live, new, uow=uow)
            await store.upsert(live, "c", {"total": 8}, uow=uow)
            own = await store.get_batch(live, "abc", uow=uow)
            with raises(ValidationError):
                await (await store.find(live, where("customer", "=", "anna"), uow=uow))

        assert own == {"a": {"total": 7}, "c": {"total": 8}}
        assert await all_documents(store, live) == [{"total": 7}, {"total": 8}]
        assert await (await store.find(live, where("total", "=", 8))) == [{"total": 8}]
        with raises(ValidationError):
            await (await store.find(live, where("customer", "=", "anna")))
        with raises(ProjectionStoreError):
            await store.get(new, "a")
        await store.upsert(live, "d", {"total": 9})
        assert len(await (await store.find(live, where("total", "<", 10)))) == 3

    async def test_rolled_back_replacement_of_a_collection_changes_nothing(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        live, new = (
            await create_collection(store, customer=str),
            await create_collection(store, total=int),
        )
        await store.upsert(live, "a", {"customer": "anna"})
        await store.upsert(new, "b", {"total": 7})

        with raises(LookupError):
            async with new_uow() as uow:
                await store.replace_collection(live, new, uow=uow)
                await store.upsert(live, "c", {"total": 1}, uow=uow)
                raise LookupError

        assert await all_documents(store, live) == [{"customer": "anna"}]
        assert await all_documents(store, new) == [{"total": 7}]

    async def test_collection_can_be_replaced_repeatedly_and_need_not_exist_before(
        self, store: IProjectionStore, new_uow: NewUnitOfWork, where: Where
    ) -> None:
        live = new_collection()
        new = f"{live}__rebuild"

        for version in range(3):
            fields = {"version": int, f"only_in_{version}": str}
            await store.ensure_collection(new, fields)
            await store.upsert(new, "a", {"version": version})
            async with new_uow() as uow:
                await store.replace_collection(live, new, uow=uow)

            await store.ensure_collection(live, fields)
            assert await (await store.find(live, where("version", "=", version))) == [
                {"version": version}
            ]

    async def test_collection_cannot_be_replaced_by_itself(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        await store.upsert(collection, "a", {})

        with raises(ProjectionStoreError):
            async with new_uow() as uow:
                await store.replace_collection(collection, collection, uow=uow)

        assert await all_documents(store, collection) == [{}]

    async def test_readers_see_all_old_or_all_new_documents_during_a_replacement(
        self, store: IProjectionStore, new_uow: NewUnitOfWork, options: Options
    ) -> None:
        live = await create_collection(store, lines=int)
        await store.upsert_batch(live, {f"{n}": {"lines": 0} for n in range(5)})
        is_over, was_read = asyncio.Event(), asyncio.Event()

        async def read() -> None:
            try:
                while not is_over.is_set():
                    found = await (await store.find(live, options(ordering=("lines",))))
                    by_id = await store.get_batch(live, ["0", "1", "2"])
                    assert len(found) >= 5
                    assert len({doc["lines"] for doc in found}) == 1
                    assert len(by_id) == 3
                    was_read.set()
                    await asyncio.sleep(0)
            finally:
                was_read.set()
                is_over.set()

        async def replace() -> None:
            for version in range(1, 4):
                fields = {"lines": int, f"only_in_{version}": str}
                new = await create_collection(store, **fields)
                docs = {f"{n}": {"lines": version} for n in range(5 + version)}
                await store.upsert_batch(new, docs)
                async with new_uow() as uow:
                    await store.replace_collection(live, new, uow=uow)
                for _ in range(5):
                    was_read.clear()
                    if not is_over.is_set():
                        await was_read.wait()
            is_over.set()

        await asyncio.gather(*(read() for _ in range(3)), replace())

        assert len(await all_documents(store, live)) == 8
