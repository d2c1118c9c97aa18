"""Contract of repositories."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from ...domain.specification import IQueryOptions, ISpecification
from ...ports import IRepository, UnitOfWork
from ...primitives.exceptions import (
    AlreadyExistsError,
    ConcurrencyError,
    InvalidOperationError,
    MultipleResultsError,
    NotFoundError,
    OptimisticConcurrencyError,
    UnsavedChangesError,
    ValidationError,
)
from ..assertions import raises
from .parcel import Parcel, load_parcel, make_parcel, new_parcel_id, store_parcel

Parcels = IRepository[Parcel, str]
NewUnitOfWork = Callable[[], UnitOfWork]


class Where(Protocol):
    """Function that returns a specification: ``where("owner", "=", "anna")``.

    The contract uses the operator ``=`` only.
    """

    def __call__(self, attribute: str, operator: str, value: object) -> ISpecification[Parcel]: ...


class Options(Protocol):
    """Function that returns query options."""

    def __call__(
        self,
        specification: ISpecification[Parcel] | None = None,
        *,
        ordering: tuple[str, ...] = (),
        limit: int | None = None,
        offset: int = 0,
        distinct: bool = False,
    ) -> IQueryOptions[Parcel]: ...


class RepositoryContract:
    """Contract of ``IRepository``.

    Fixtures:
        parcels: An ``IRepository`` of ``Parcel``.
        new_uow: Returns a new unit of work for the repository.
        where: A ``Where``, for the tests of ``search``.
        options: An ``Options``, for the tests of ``search``.
    """

    async def test_repository_returns_an_added_aggregate_with_all_its_fields(
        self, parcels: Parcels
    ) -> None:
        parcel = make_parcel(note="naïve ☃ 'quoted' \"twice\" \\")
        parcel.weigh(0)

        answer = await parcels.add(parcel)
        found = await parcels.get(parcel.id)

        assert answer == parcel.id
        assert found is not None
        assert found.model_dump() == parcel.model_dump()

    async def test_repository_distinguishes_null_from_empty_text(self, parcels: Parcels) -> None:
        null, empty = make_parcel(note=None), make_parcel(note="")
        await parcels.add(null)
        await parcels.add(empty)

        found = await parcels.list_all([null.id, empty.id])

        assert [parcel.note for parcel in found] == [None, ""]

    async def test_repository_returns_none_for_an_absent_id(self, parcels: Parcels) -> None:
        assert await parcels.get(new_parcel_id()) is None

    async def test_repository_returns_an_independent_copy_of_the_aggregate(
        self, parcels: Parcels
    ) -> None:
        parcel = await store_parcel(parcels)

        found = await load_parcel(parcels, parcel.id)
        found.note = "changed in memory"
        parcel.note = "changed in memory as well"

        assert (await load_parcel(parcels, parcel.id)).note is None
        assert found.pending_events == ()

    async def test_aggregate_version_counts_persisted_events(self, parcels: Parcels) -> None:
        parcel = make_parcel()
        parcel.weigh(1)
        assert parcel.version == 0

        await parcels.add(parcel)
        found = await load_parcel(parcels, parcel.id)
        found.weigh(2)
        await parcels.add(found)

        assert parcel.version == 2
        assert found.version == 3
        assert (await load_parcel(parcels, parcel.id)).version == 3
        assert (await load_parcel(parcels, parcel.id)).grams == 2

    async def test_saving_an_aggregate_without_events_increases_its_version_by_one(
        self, parcels: Parcels
    ) -> None:
        parcel = await store_parcel(parcels)

        parcel.note = "by hand"
        await parcels.add(parcel)

        found = await load_parcel(parcels, parcel.id)
        assert (found.version, found.note) == (2, "by hand")

    async def test_saved_aggregate_can_be_changed_and_saved_again(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel = make_parcel()

        async with new_uow() as uow:
            await parcels.add(parcel, uow)
            parcel.weigh(1)
            await parcels.add(parcel, uow)
        parcel.weigh(2)
        await parcels.add(parcel)

        found = await load_parcel(parcels, parcel.id)
        assert (found.version, found.grams) == (3, 2)

    async def test_second_writer_of_an_aggregate_conflicts_and_keeps_its_events(
        self, parcels: Parcels
    ) -> None:
        parcel = await store_parcel(parcels)
        first, second = await load_parcel(parcels, parcel.id), await load_parcel(parcels, parcel.id)
        first.weigh(1)
        second.weigh(2)
        await parcels.add(first)

        with raises(OptimisticConcurrencyError) as caught:
            await parcels.add(second)

        assert (caught.error.expected, caught.error.actual) == (1, 2)
        assert parcel.id in str(caught.error)
        assert (second.version, len(second.pending_events)) == (1, 1)
        assert (await load_parcel(parcels, parcel.id)).grams == 1

    async def test_two_copies_of_an_aggregate_conflict_in_one_unit_of_work(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(parcels)

        with raises(OptimisticConcurrencyError):
            async with new_uow() as uow:
                first = await parcels.get(parcel.id, uow)
                second = await parcels.get(parcel.id, uow)
                assert first is not None
                assert second is not None
                first.weigh(1)
                await parcels.add(first, uow)
                second.weigh(2)
                await parcels.add(second, uow)

        assert (await load_parcel(parcels, parcel.id)).version == 1

    async def test_new_aggregate_with_the_id_of_a_stored_aggregate_already_exists(
        self, parcels: Parcels
    ) -> None:
        parcel = await store_parcel(parcels)

        with raises(AlreadyExistsError) as caught:
            await parcels.add(Parcel.register(parcel.id, "another owner"))

        assert (caught.error.expected, caught.error.actual) == (0, 1)
        assert f"{parcel.id} exists already" in str(caught.error)
        assert (await load_parcel(parcels, parcel.id)).owner == "anna"

    async def test_id_that_another_writer_takes_after_it_was_looked_up_conflicts(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel_id = new_parcel_id()

        with raises(ConcurrencyError) as caught:
            async with new_uow() as uow:
                assert await parcels.get(parcel_id, uow) is None
                async with new_uow() as other:
                    await parcels.add(Parcel.register(parcel_id, "anna"), other)
                await parcels.add(Parcel.register(parcel_id, "berta"), uow)

        assert not isinstance(caught.error, AlreadyExistsError), "a retry would find the aggregate"
        assert (await load_parcel(parcels, parcel_id)).owner == "anna"

    async def test_id_that_another_writer_takes_after_a_list_without_it_conflicts(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel_id = new_parcel_id()

        with raises(ConcurrencyError) as caught:
            async with new_uow() as uow:
                assert await parcels.list_all([parcel_id], uow) == []
                async with new_uow() as other:
                    await parcels.add(Parcel.register(parcel_id, "anna"), other)
                await parcels.add(Parcel.register(parcel_id, "berta"), uow)

        assert not isinstance(caught.error, AlreadyExistsError), "a retry would find the aggregate"

    async def test_loaded_aggregate_has_the_defaults_of_its_private_attributes(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel = make_parcel()
        parcel.scan()

        async with new_uow() as uow:
            await parcels.add(parcel, uow)
            own = await parcels.get(parcel.id, uow)
        stored = await load_parcel(parcels, parcel.id)

        assert parcel.is_scanned
        assert own is not None
        assert not own.is_scanned, "private attributes are not stored"
        assert not stored.is_scanned, "private attributes are not stored"

    async def test_change_of_a_deleted_aggregate_conflicts(self, parcels: Parcels) -> None:
        parcel = await store_parcel(parcels)
        await parcels.delete(parcel.id)
        parcel.weigh(1)

        with raises(OptimisticConcurrencyError) as caught:
            await parcels.add(parcel)

        assert caught.error.actual is None
        assert await parcels.get(parcel.id) is None

    async def test_no_update_of_an_aggregate_is_lost_with_many_concurrent_writers(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(parcels)

        async def weigh_until_stored() -> None:
            for _ in range(200):
                try:
                    async with new_uow() as uow:
                        mine = await parcels.get(parcel.id, uow)
                        assert mine is not None
                        mine.weigh((mine.grams or 0) + 1)
                        await parcels.add(mine, uow)
                    return
                except OptimisticConcurrencyError:
                    continue
            raise AssertionError("each of 200 attempts ended with a conflict")

        async def write_five_times() -> None:
            for _ in range(5):
                await weigh_until_stored()

        await asyncio.gather(*(write_five_times() for _ in range(6)))

        found = await load_parcel(parcels, parcel.id)
        assert (found.grams, found.version) == (30, 31)

    async def test_uncommitted_aggregate_is_visible_only_in_its_own_unit_of_work(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel = make_parcel()

        async with new_uow() as uow:
            await parcels.add(parcel, uow)
            own_view = await parcels.get(parcel.id, uow)
            async with new_uow() as other:
                other_view = await parcels.get(parcel.id, other)
                listed = await parcels.list_all([parcel.id], other)

        assert own_view is not None
        assert other_view is None
        assert listed == []

    async def test_rollback_leaves_the_repository_and_the_aggregate_unchanged(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(parcels)
        new = make_parcel()
        parcel.weigh(1)

        with raises(LookupError):
            async with new_uow() as uow:
                await parcels.add(parcel, uow)
                await parcels.add(new, uow)
                raise LookupError

        assert await parcels.get(new.id) is None
        assert (await load_parcel(parcels, parcel.id)).grams is None
        assert (parcel.version, len(parcel.pending_events)) == (1, 2)
        await parcels.add(parcel)
        assert (await load_parcel(parcels, parcel.id)).version == 2

    async def test_deleted_aggregate_is_gone_and_can_be_deleted_again(
        self, parcels: Parcels
    ) -> None:
        parcel = await store_parcel(parcels)

        assert await parcels.delete(parcel.id) == parcel.id
        assert await parcels.delete(parcel.id) == parcel.id

        assert await parcels.get(parcel.id) is None
        assert await parcels.list_all([parcel.id]) == []

    async def test_id_of_a_deleted_aggregate_can_be_used_again(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(parcels)

        async with new_uow() as uow:
            await parcels.delete(parcel.id, uow)
            await parcels.add(Parcel.register(parcel.id, "berta"), uow)

        found = await load_parcel(parcels, parcel.id)
        assert (found.owner, found.version) == ("berta", 1)

    async def test_rolled_back_deletion_of_an_aggregate_deletes_nothing(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(parcels)

        async with new_uow() as uow:
            await parcels.delete(parcel.id, uow)
            seen = await parcels.get(parcel.id, uow)
            await uow.rollback()

        assert seen is None
        assert await parcels.get(parcel.id) is not None

    async def test_list_all_returns_requested_ids_in_order_without_duplicates_or_gaps(
        self, parcels: Parcels
    ) -> None:
        one, two = await store_parcel(parcels), await store_parcel(parcels)

        found = await parcels.list_all([two.id, new_parcel_id(), one.id, two.id])

        assert [parcel.id for parcel in found] == [two.id, one.id]
        assert await parcels.list_all([]) == []

    async def test_list_all_without_ids_returns_every_aggregate(
        self, parcels: Parcels, new_uow: NewUnitOfWork
    ) -> None:
        stored = [await store_parcel(parcels) for _ in range(3)]

        async with new_uow() as uow:
            own = make_parcel()
            await parcels.add(own, uow)
            found = {parcel.id for parcel in await parcels.list_all(uow=uow)}

        assert {parcel.id for parcel in [*stored, own]} <= found

    async def test_search_result_can_be_awaited_and_streamed_repeatedly(
        self, parcels: Parcels, where: Where
    ) -> None:
        owner = new_parcel_id()
        stored = {(await store_parcel(parcels, owner=owner)).id for _ in range(5)}
        await store_parcel(parcels, owner="another owner")

        result = await parcels.search(where("owner", "=", owner))
        awaited = [parcel.id for parcel in await result]
        streamed = [parcel.id async for parcel in result.stream(batch_size=2)]
        iterated = [parcel.id async for parcel in result]

        assert set(awaited) == set(streamed) == set(iterated) == stored
        assert len(awaited) == len(streamed) == len(iterated) == 5
        assert len(await result) == len(await result.all()) == 5

    async def test_first_result_is_the_first_of_the_page_or_none(
        self, parcels: Parcels, where: Where, options: Options
    ) -> None:
        owner = new_parcel_id()
        for grams in (2, 3, 1):
            await store_parcel(parcels, owner=owner, grams=grams)
        mine = where("owner", "=", owner)

        async def find_grams(**page: Any) -> int | None:
            found = await (await parcels.search(options(mine, **page))).first()
            return None if found is None else found.grams

        assert await find_grams(ordering=("grams",)) == 1
        assert await find_grams(ordering=("-grams",)) == 3
        assert await find_grams(ordering=("grams",), limit=5, offset=1) == 2
        assert await find_grams(ordering=("grams",), offset=3) is None
        assert await find_grams(limit=0) is None
        assert await (await parcels.search(where("owner", "=", "nobody"))).first() is None

    async def test_only_result_rejects_an_empty_page_and_a_second_item_on_it(
        self, parcels: Parcels, where: Where, options: Options
    ) -> None:
        owner = new_parcel_id()
        for grams in (2, 1):
            await store_parcel(parcels, owner=owner, grams=grams)
        mine = where("owner", "=", owner)

        only = await parcels.search(options(mine, ordering=("grams",), limit=1))
        several = await parcels.search(options(mine, ordering=("grams",), limit=2))
        nothing = await parcels.search(options(mine, offset=2))

        assert (await only.one()).grams == 1
        with raises(MultipleResultsError):
            await several.one()
        with raises(NotFoundError):
            await nothing.one()

    async def test_count_of_a_search_includes_every_page_and_own_changes(
        self, parcels: Parcels, new_uow: NewUnitOfWork, where: Where, options: Options
    ) -> None:
        owner = new_parcel_id()
        for _ in range(3):
            await store_parcel(parcels, owner=owner)
        mine = where("owner", "=", owner)
        page = options(mine, ordering=("-grams",), limit=1, offset=1)

        async with new_uow() as uow:
            await parcels.add(make_parcel(owner=owner), uow)
            own_counts = [
                await (await parcels.search(criteria, uow)).count() for criteria in (mine, page)
            ]
            await uow.rollback()

        assert own_counts == [4, 4]
        for criteria in (mine, page):
            assert await (await parcels.search(criteria)).count() == 3
        assert await (await parcels.search(where("owner", "=", "nobody"))).count() == 0
        assert await (await parcels.search(options())).count() >= 3

    async def test_first_result_in_a_unit_of_work_can_be_changed_and_saved(
        self, parcels: Parcels, new_uow: NewUnitOfWork, where: Where
    ) -> None:
        owner = new_parcel_id()
        await store_parcel(parcels, owner=owner)

        with raises(UnsavedChangesError):
            async with new_uow() as uow:
                (await (await parcels.search(where("owner", "=", owner), uow)).one()).weigh(1)
        async with new_uow() as uow:
            found = await (await parcels.search(where("owner", "=", owner), uow)).one()
            found.weigh(2)
            await parcels.add(found, uow)

        assert (await (await parcels.search(where("owner", "=", owner))).one()).grams == 2

    async def test_search_sees_uncommitted_changes_of_its_own_unit_of_work_only(
        self, parcels: Parcels, new_uow: NewUnitOfWork, where: Where
    ) -> None:
        owner = new_parcel_id()
        kept, moved = (
            await store_parcel(parcels, owner=owner),
            await store_parcel(parcels, owner=owner),
        )

        async with new_uow() as uow:
            moved.owner = "another owner"
            await parcels.add(moved, uow)
            new = make_parcel(owner=owner)
            await parcels.add(new, uow)
            own_view = await (await parcels.search(where("owner", "=", owner), uow))
            async with new_uow() as other:
                other_view = await (await parcels.search(where("owner", "=", owner), other))

        assert {parcel.id for parcel in own_view} == {kept.id, new.id}
        assert {parcel.id for parcel in other_view} == {kept.id, moved.id}

    async def test_null_sorts_last_in_ascending_and_first_in_descending_order(
        self, parcels: Parcels, where: Where, options: Options
    ) -> None:
        owner = new_parcel_id()
        for grams in (3, None, 1, 2):
            await store_parcel(parcels, owner=owner, grams=grams)

        async def find_grams(*ordering: str) -> list[int | None]:
            criteria = options(where("owner", "=", owner), ordering=ordering)
            return [parcel.grams for parcel in await (await parcels.search(criteria))]

        assert await find_grams("grams") == [1, 2, 3, None]
        assert await find_grams("-grams") == [None, 3, 2, 1]

    async def test_limit_and_offset_return_a_slice_of_the_whole_order(
        self, parcels: Parcels, where: Where, options: Options
    ) -> None:
        owner = new_parcel_id()
        for grams, note in ((1, "b"), (2, "a"), (1, "a"), (2, "b")):
            await store_parcel(parcels, owner=owner, grams=grams, note=note)

        async def page(limit: int | None, offset: int) -> list[tuple[int | None, str | None]]:
            criteria = options(
                where("owner", "=", owner), ordering=("-grams", "note"), limit=limit, offset=offset
            )
            return [(p.grams, p.note) for p in await (await parcels.search(criteria))]

        assert await page(None, 0) == [(2, "a"), (2, "b"), (1, "a"), (1, "b")]
        assert await page(2, 1) == [(2, "b"), (1, "a")]
        assert await page(None, 3) == [(1, "b")]
        assert await page(0, 0) == []
        assert await page(5, 4) == []

    async def test_aggregates_with_equal_sort_keys_are_ordered_by_id_on_every_page(
        self, parcels: Parcels, where: Where, options: Options
    ) -> None:
        owner = new_parcel_id()
        ids = [f"{owner}-{letter}" for letter in "cadbe"]
        for parcel_id in ids:
            await parcels.add(Parcel.register(parcel_id, owner))

        async def page(*ordering: str, limit: int | None = None, offset: int = 0) -> list[str]:
            criteria = options(
                where("owner", "=", owner), ordering=ordering, limit=limit, offset=offset
            )
            return [parcel.id for parcel in await (await parcels.search(criteria))]

        assert await page("owner") == sorted(ids)
        assert await page("-owner", "-note") == sorted(ids)
        assert await page("owner", limit=2, offset=1) == sorted(ids)[1:3]
        assert await page(limit=2) == sorted(ids)[:2]
        assert await page(offset=2) == sorted(ids)[2:]

    async def test_ordering_by_an_unknown_attribute_raises_validation_error(
        self, parcels: Parcels, options: Options
    ) -> None:
        await store_parcel(parcels)

        for name in ("colour", "-colour", "owner.name", "version.x", ""):
            with raises(ValidationError):
                await (await parcels.search(options(ordering=(name,))))

    async def test_repository_search_rejects_distinct_query_options(
        self, parcels: Parcels, options: Options
    ) -> None:
        with raises(InvalidOperationError):
            await parcels.search(options(distinct=True))

    async def test_repository_search_rejects_criteria_of_an_unknown_type(
        self, parcels: Parcels
    ) -> None:
        for criteria in ("owner = 'anna'", None, {"owner": "anna"}):
            with raises(InvalidOperationError):
                await parcels.search(criteria)

    async def test_repository_rejects_an_entity_of_another_type(self, parcels: Parcels) -> None:
        stranger: Any = object()

        with raises(InvalidOperationError):
            await parcels.add(stranger)
