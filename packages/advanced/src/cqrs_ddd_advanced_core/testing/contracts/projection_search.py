"""Contract of searches over the documents of a collection."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from cqrs_ddd_core.ports import SearchResult
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.spi.querying import AllOf, OneOf
from cqrs_ddd_core.testing.assertions import raises

from ...ports.projections import IProjectionStore
from .documents import (
    FIELDS,
    NOON,
    NewUnitOfWork,
    Options,
    Where,
    all_documents,
    create_collection,
)


class ProjectionSearchContract:
    """Search part of ``ProjectionStoreContract``, with the same fixtures."""

    async def test_search_works_on_fields_with_reserved_or_unusual_names(
        self, store: IProjectionStore, where: Where, options: Options
    ) -> None:
        names = ["from", "select", "json", "metadata", "copy", "rowid", "camelCase", "x" * 60]
        collection = await create_collection(store, **dict.fromkeys(names, str))
        await store.upsert(collection, "one", dict.fromkeys(names, "a"))

        for name in names:
            page = options(where(name, "=", "a"), ordering=(name,))
            assert len(await (await store.find(collection, page))) == 1

    async def test_search_finds_values_of_every_type_and_missing_fields_as_none(
        self, store: IProjectionStore, where: Where
    ) -> None:
        collection = await create_collection(store, **FIELDS)
        values: dict[str, Any] = {
            "customer": "anna",
            "lines": 2**62,
            "weight": 0.5,
            "is_open": False,
            "total": Decimal("123456789012.000001"),
            "made_at": NOON,
            "day": date(2026, 3, 1),
            "key": UUID(int=7),
        }
        nested = {"address": {"city": "Berlin"}, "tags": ["a"]}
        await store.upsert_batch(collection, {"full": {**values, **nested, "more": 1}, "empty": {}})
        await store.upsert(collection, "null", dict.fromkeys(FIELDS))

        for name, value in {**values, "address.city": "Berlin"}.items():
            (found,) = await (await store.find(collection, where(name, "=", value)))
            assert found["more"] == 1, name
        for name in FIELDS:
            missing = await (await store.find(collection, where(name, "=", None)))
            assert len(missing) == 2, name

    async def test_search_compares_numbers_and_times_by_value_and_not_as_text(
        self, store: IProjectionStore, where: Where
    ) -> None:
        collection = await create_collection(store, total=Decimal, made_at=datetime, lines=int)
        in_other_zone = NOON.astimezone(timezone(timedelta(hours=5)))
        docs: dict[str, Any] = {
            "few": {"total": "9.5", "lines": 9, "made_at": in_other_zone - timedelta(seconds=1)},
            "many": {"total": "10", "lines": 10, "made_at": in_other_zone},
        }
        await store.upsert_batch(collection, docs)

        for name, value in {"total": Decimal(10), "lines": 10, "made_at": NOON}.items():
            less = await (await store.find(collection, where(name, "<", value)))
            equal = await (await store.find(collection, where(name, "=", value)))
            assert [doc["lines"] for doc in less] == [9], name
            assert [doc["lines"] for doc in equal] == [10], name

    async def test_search_orders_equal_documents_by_id_and_none_as_greatest(
        self, store: IProjectionStore, options: Options
    ) -> None:
        collection = await create_collection(store, total=Decimal, customer=str)
        totals = {"b": "2", "a": "2.0", "d": None, "c": "10", "B": "2"}
        docs = {each: {"is": each, "total": total} for each, total in totals.items()}
        await store.upsert_batch(collection, docs)

        async def ids(*ordering: str, **page: Any) -> str:
            found = await store.find(collection, options(ordering=ordering, **page))
            return "".join([doc["is"] for doc in await found])

        assert await ids("total") == "Babcd"
        assert await ids("-total") == "dcBab"
        assert await ids("total", "-doc_id") == "baBcd"
        assert await ids("total", limit=2, offset=1) == "ab"
        assert await ids(limit=2, offset=2) == "bc"
        assert await ids("customer", limit=0) == ""

    async def test_search_reads_the_first_or_only_document_of_a_page_and_counts_all_pages(
        self, store: IProjectionStore, new_uow: NewUnitOfWork, where: Where, options: Options
    ) -> None:
        collection = await create_collection(store, lines=int)
        await store.upsert_batch(collection, {each: {"lines": int(each)} for each in "312"})

        async def find(criteria: Any) -> SearchResult[dict[str, Any]]:
            return await store.find(collection, criteria)

        by_lines = await find(options(ordering=("-lines",), limit=2, offset=1))
        assert await by_lines.first() == {"lines": 2}
        assert await by_lines.take(5) == [{"lines": 2}, {"lines": 1}]
        assert [doc async for doc in by_lines] == await by_lines.all()
        assert await by_lines.count() == 3
        assert await (await find(where("lines", "<", 3))).count() == 2
        assert await (await find(where("lines", "=", 3))).one() == {"lines": 3}
        assert await (await find(where("lines", "=", 4))).first() is None
        assert await (await find(options(ordering=("lines",), limit=1))).one() == {"lines": 1}
        with raises(errors.MultipleResultsError):
            await by_lines.one()
        with raises(errors.NotFoundError):
            await (await find(options(limit=0))).one()
        async with new_uow() as uow:
            await store.delete(collection, "1", uow=uow)
            assert await (await store.find(collection, options(), uow=uow)).count() == 2
            await uow.rollback()

    async def test_search_by_an_undeclared_field_is_rejected(
        self, store: IProjectionStore, where: Where, options: Options
    ) -> None:
        collection = await create_collection(store, customer=str, address=dict)
        await store.upsert(collection, "one", {"customer": "a", "other": 1, "doc": 1})

        for criteria in (
            where("other", "=", 1),
            where("doc", "=", 1),
            where("customer.name", "=", "a"),
            options(where("other", "=", 1)),
            options(ordering=("other",)),
            options(ordering=("-doc",)),
            options(ordering=("address",)),
            options(ordering=("address.city",)),
            options(ordering=("customer.name",)),
        ):
            with raises(errors.ValidationError):
                await (await store.find(collection, criteria))
        with raises(errors.InvalidOperationError):
            await store.find(collection, "other")  # type: ignore[arg-type]

    async def test_search_for_distinct_documents_is_rejected(
        self, store: IProjectionStore, options: Options
    ) -> None:
        collection = await create_collection(store, customer=str)

        with raises(errors.InvalidOperationError):
            await store.find(collection, options(distinct=True))

    async def test_search_accepts_document_ids_and_combined_conditions(
        self, store: IProjectionStore, where: Where, options: Options
    ) -> None:
        collection = await create_collection(store, customer=str)
        docs = {each: {"is": each, "customer": "anna"} for each in "abc"}
        await store.upsert_batch(collection, {**docs, "d": {"is": "d"}})
        some = AllOf((OneOf("doc_id", ("d", "c", "a", "none")), where("customer", "=", "anna")))

        found = await (await store.find(collection, options(some, ordering=("-doc_id",))))

        assert [doc["is"] for doc in found] == ["c", "a"]

    async def test_streamed_search_leaves_the_unit_of_work_usable_between_documents(
        self, store: IProjectionStore, new_uow: NewUnitOfWork, options: Options
    ) -> None:
        collection = await create_collection(store, lines=int)
        await store.upsert_batch(collection, {f"{n:02}": {"lines": n} for n in range(25)})
        page = options(ordering=("-lines",), limit=23)

        alone = [doc["lines"] async for doc in (await store.find(collection, page)).stream(10)]
        in_uow = []
        async with new_uow() as uow:
            found = await store.find(collection, page, uow=uow)
            async for doc in found.stream(batch_size=10):
                in_uow.append(doc["lines"])
                await store.delete(collection, f"{doc['lines']:02}", uow=uow)

        assert alone == in_uow == list(range(24, 1, -1))
        assert len(await all_documents(store, collection)) == 2
