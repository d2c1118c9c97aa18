"""Contract of projection stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError, ReadOnlyError
from cqrs_ddd_core.testing.assertions import UNSTORABLE_IDS, raises
from cqrs_ddd_core.testing.faults import cancel_sweep

from ...exceptions import DocumentError
from ...ports.projections import IProjectionStore, IProjectionStoreProvider
from .documents import (
    FIELDS,
    NOON,
    NewUnitOfWork,
    Options,
    all_documents,
    create_collection,
    get_document,
)
from .projection_collections import CollectionsContract
from .projection_search import ProjectionSearchContract
from .tenancy import ProjectionTenancyContract


class ProjectionStoreContract(
    CollectionsContract, ProjectionSearchContract, ProjectionTenancyContract
):
    """Contract of ``IProjectionStore``.

    Your test class provides these fixtures: ``store``, the store under test; ``new_uow``, a
    callable that returns a new unit of work which carries such a store; ``where`` and ``options``,
    which build specifications and query options, for the searches.
    """

    async def test_document_is_read_back_in_its_json_form(self, store: IProjectionStore) -> None:
        class Money(BaseModel):
            amount: Decimal

        collection = await create_collection(store)
        doc = {
            "text": "naïve ☃ 'quoted' \"twice\" \\ \\u0000",
            "numbers": [0, -1, 2**63 - 1, 10**30, 0.1, 1e16, 1e300],
            "nested": {"z": None, "a": [True, {}], "": ""},
            "at": NOON,
            "key": UUID(int=7),
            "money": Money(amount=Decimal("1.50")),
            "set": (1, 2),
        }

        await store.upsert(collection, "one", doc)
        found = await store.get(collection, "one")

        assert found == {
            **doc,
            "at": "2026-03-01T12:00:00Z",
            "key": str(UUID(int=7)),
            "money": {"amount": "1.50"},
            "set": [1, 2],
        }
        assert list(found) == list(doc)

    async def test_upsert_replaces_the_document_under_the_same_id(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store, customer=str)
        for customer in ("anna", None, "berta"):
            await store.upsert(collection, "one", {"customer": customer})
        await store.upsert_batch(collection, {"two": {}, "one": {"lines": 3}})

        assert await store.get_batch(collection, ["one", "two"]) == {"one": {"lines": 3}, "two": {}}

    async def test_projection_store_returns_independent_copies_of_documents(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store)
        doc: dict[str, Any] = {"lines": [1]}
        await store.upsert(collection, "one", doc)

        doc["lines"].append(2)
        found = await get_document(store, collection, "one")
        found["lines"].append(3)

        assert await store.get(collection, "one") == {"lines": [1]}

    async def test_batch_read_returns_the_existing_documents_in_the_order_of_the_ids(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store)
        await store.upsert_batch(collection, {each: {"is": each} for each in "abc"})

        found = await store.get_batch(collection, ["c", "none", "a", "c"])

        assert list(found.items()) == [("c", {"is": "c"}), ("a", {"is": "a"})]
        assert await store.get_batch(collection, []) == {}
        assert await store.get(collection, "none") is None

    async def test_empty_batches_of_documents_change_nothing(self, store: IProjectionStore) -> None:
        collection = await create_collection(store)

        await store.upsert_batch(collection, {})
        await store.delete_batch(collection, [])

        assert await all_documents(store, collection) == []

    async def test_document_ids_can_be_any_text_and_stay_distinct(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store)
        ids = [" ", "a", "A", "ä", "a\u0308", "'; --", "$1", "\\", "x" * 1000, "☃", "1", "01"]

        await store.upsert_batch(collection, {each: {"is": each} for each in ids})

        assert await store.get_batch(collection, ids) == {each: {"is": each} for each in ids}

    async def test_invalid_document_id_is_rejected_by_writes_and_missing_for_reads(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store)

        for doc_id in ("", "x" * 1001, "ä" * 501, *UNSTORABLE_IDS):
            with raises(DocumentError):
                await store.upsert(collection, doc_id, {})
            assert await store.get(collection, doc_id) is None
            await store.delete(collection, doc_id)

    async def test_batch_with_a_document_that_is_not_json_writes_nothing(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        unfit: list[Any] = [object(), float("nan"), float("inf"), "\x00", "\ud800", {"\x00": 1}]
        for value in unfit:
            with raises(DocumentError):
                await store.upsert_batch(collection, {"fit": {}, "unfit": {"deep": [value]}})
        for doc in ([1], "text", None):
            with raises(DocumentError):
                await store.upsert(collection, "unfit", doc)  # type: ignore[arg-type]

        assert await all_documents(store, collection) == []
        async with new_uow() as uow:
            with raises(DocumentError):
                await store.upsert(collection, "unfit", {"is": object()}, uow=uow)
            await store.upsert(collection, "fit", {}, uow=uow)
        assert await all_documents(store, collection) == [{}]

    async def test_value_of_a_wrong_type_is_rejected_with_the_name_of_its_field(
        self, store: IProjectionStore
    ) -> None:
        unfit: dict[str, list[Any]] = {
            "customer": [1, {}, "x" * 2001],
            "lines": ["1", 1.5, True, 2**63],
            "weight": ["heavy", True],
            "is_open": [1, "true"],
            "total": ["a lot", "0.0000001", 10**12, True],
            "made_at": ["yesterday", "2026-03-01T12:00:00", "0001-01-01T00:00:00Z"],
            "day": ["2026-02-30", "2026-03-01T12:00:00Z"],
            "key": ["no key", 7],
            "address": [[], "Berlin"],
            "tags": [{}, "a"],
        }
        collection = await create_collection(store, **FIELDS)

        for name, values in unfit.items():
            for value in values:
                try:
                    await store.upsert_batch(collection, {"fit": {}, "unfit": {name: value}})
                except DocumentError as error:
                    place = (error.collection, error.doc_id, error.field)
                    assert place == (collection, "unfit", name)
                else:
                    raise AssertionError(f"field {name} accepted {value!r}")

        assert await all_documents(store, collection) == []

    async def test_deleted_documents_are_gone_and_can_be_deleted_again(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store)
        await store.upsert_batch(collection, {each: {"is": each} for each in "abcd"})

        for _ in range(2):
            await store.delete(collection, "a")
            await store.delete_batch(collection, ["d", "b", "none"])

        assert await all_documents(store, collection) == [{"is": "c"}]
        await store.upsert(collection, "a", {"is": "a again"})
        assert await store.get(collection, "a") == {"is": "a again"}

    async def test_uncommitted_document_is_visible_in_its_transaction_only(
        self, store: IProjectionStore, new_uow: NewUnitOfWork, options: Options
    ) -> None:
        collection = await create_collection(store, lines=int)
        await store.upsert_batch(collection, {"a": {"lines": 1}, "b": {"lines": 2}})

        async def read_all(uow: UnitOfWork) -> list[Any]:
            page = await store.find(collection, options(ordering=("lines",)), uow=uow)
            return [await store.get_batch(collection, "abc", uow=uow), await page]

        async with new_uow() as other:
            before = await read_all(other)
        async with new_uow() as uow:
            await store.upsert(collection, "c", {"lines": 0}, uow=uow)
            await store.delete(collection, "a", uow=uow)
            own = await read_all(uow)
            async with new_uow() as other:
                of_others = await read_all(other)

        assert of_others == before
        assert own == [{"b": {"lines": 2}, "c": {"lines": 0}}, [{"lines": 0}, {"lines": 2}]]
        async with new_uow() as other:
            assert await read_all(other) == own

    async def test_rolled_back_writes_leave_the_documents_unchanged(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        await store.upsert_batch(collection, {"a": {"is": "a"}, "b": {"is": "b"}})

        with raises(LookupError):
            async with new_uow() as uow:
                await store.upsert_batch(collection, {"a": {}, "c": {}}, uow=uow)
                await store.truncate_collection(collection, uow=uow)
                await store.upsert(collection, "d", {}, uow=uow)
                raise LookupError

        assert await all_documents(store, collection) == [{"is": "a"}, {"is": "b"}]

    async def test_unit_of_work_carries_a_projection_store_in_its_transaction(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)

        async with new_uow() as uow:
            carrier: object = uow
            assert isinstance(carrier, IProjectionStoreProvider)
            await carrier.projections.upsert(collection, "one", {})
            assert await carrier.projections.get(collection, "one") == {}
            await uow.rollback()

        assert await store.get(collection, "one") is None

    async def test_projection_store_joins_the_open_unit_of_work(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)

        async with new_uow() as uow:
            await store.upsert(collection, "one", {})
            assert await all_documents(store, collection) == [{}]
            await uow.rollback()

        assert await all_documents(store, collection) == []

    async def test_cancelled_write_stores_all_documents_or_none(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store, lines=int)
        numbers = count()

        async def work_at_once() -> None:
            n = next(numbers)
            await store.upsert_batch(collection, {f"{n} {each}": {"lines": n} for each in "ab"})

        async def work() -> None:
            n = next(numbers)
            async with new_uow() as uow:
                for each in "ab":
                    await store.upsert(collection, f"{n} {each}", {"lines": n}, uow=uow)

        async def check() -> None:
            assert len(await all_documents(store, collection)) % 2 == 0

        for each in (work_at_once, work):
            assert await cancel_sweep(each, check) > 0

    async def test_document_batches_in_opposite_orders_do_not_deadlock(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        ids = ("a", "B", "ä")
        await store.upsert_batch(collection, {each: {} for each in ids})
        middle_is_held = asyncio.Event()

        async def write(*order: str) -> None:
            await middle_is_held.wait()
            await store.upsert_batch(collection, {each: {"by": order} for each in order})

        async def delete(*order: str) -> None:
            await middle_is_held.wait()
            await store.delete_batch(collection, order)

        for other in (write, delete):
            middle_is_held.clear()
            working = asyncio.gather(write(*ids), other(*reversed(ids)))
            async with new_uow() as uow:
                await store.upsert(collection, ids[1], {}, uow=uow)
                middle_is_held.set()
                # Both block at the middle document, and hold a lock that the other needs next.
                await asyncio.sleep(0.1)
            await working

        assert len(await all_documents(store, collection)) <= 3

    async def test_transactions_that_lock_documents_do_not_overwrite_each_other(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)

        async def add_one() -> None:
            while True:
                try:
                    async with new_uow() as uow:
                        await store.lock(collection, ["b", "a"], uow=uow)
                        found = await store.get_batch(collection, ["a", "b"], uow=uow)
                        await asyncio.sleep(0.03)
                        counts = {each: found.get(each, {"n": 0})["n"] + 1 for each in "ab"}
                        docs = {each: {"n": n} for each, n in counts.items()}
                        await store.upsert_batch(collection, docs, uow=uow)
                    return
                except ConcurrencyError:
                    continue

        await asyncio.gather(*(add_one() for _ in range(8)))

        assert await all_documents(store, collection) == [{"n": 8}, {"n": 8}]

    async def test_document_lock_is_reentrant_and_ends_with_its_unit_of_work(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)

        async with new_uow() as one:
            await store.lock(collection, ["a"], uow=one)
            await store.upsert(collection, "a", {}, uow=one)
        async with new_uow() as two:
            await store.lock(collection, ["b", "c"], uow=two)
            await store.lock(collection, ["b", "a"], uow=two)
            await store.lock(collection, [], uow=two)
            await store.upsert(collection, "b", {}, uow=two)

        assert len(await all_documents(store, collection)) == 2


class ReadOnlyProjectionStoreContract:
    """Contract of an ``IProjectionStore`` in a read-only unit of work.

    Your test class provides these fixtures: ``store``, the store under test, and
    ``new_read_only_uow``, a callable that returns a new read-only unit of work for it.
    """

    async def test_projection_store_reads_documents_in_a_read_only_unit_of_work(
        self, store: IProjectionStore, new_read_only_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        await store.upsert(collection, "one", {"n": 1})

        async with new_read_only_uow() as uow:
            found = await store.get(collection, "one", uow=uow)
            listed = await all_documents(store, collection)

        assert found == {"n": 1}
        assert listed == [{"n": 1}]

    async def test_projection_store_rejects_writes_in_a_read_only_unit_of_work(
        self, store: IProjectionStore, new_read_only_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        await store.upsert(collection, "one", {"n": 1})
        writes: list[Callable[[UnitOfWork], Awaitable[object]]] = [
            lambda uow: store.upsert(collection, "one", {"n": 2}, uow=uow),
            lambda uow: store.upsert_batch(collection, {"two": {"n": 2}}, uow=uow),
            lambda uow: store.delete(collection, "one", uow=uow),
            lambda uow: store.delete_batch(collection, ["one"], uow=uow),
            lambda uow: store.truncate_collection(collection, uow=uow),
            lambda uow: store.drop_collection(collection, uow=uow),
        ]

        for write in writes:
            with raises(ReadOnlyError):
                async with new_read_only_uow() as uow:
                    await write(uow)

        assert await all_documents(store, collection) == [{"n": 1}]
