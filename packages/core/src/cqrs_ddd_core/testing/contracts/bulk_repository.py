"""Contract of repositories that save many aggregates at once."""

from __future__ import annotations

from typing import Any

from ...ports.repository import IBulkRepository
from ...primitives.exceptions import (
    EntityNotFoundError,
    InvalidOperationError,
    OptimisticConcurrencyError,
)
from ..assertions import raises
from .parcel import Parcel, load_parcel, make_parcel, new_parcel_id, store_parcel
from .repository import NewUnitOfWork

BulkParcels = IBulkRepository[Parcel, str]


class BulkRepositoryContract:
    """Contract of ``IBulkRepository``, in addition to ``RepositoryContract``.

    Fixtures:
        parcels: An ``IBulkRepository`` of ``Parcel``.
        new_uow: Returns a new unit of work for the repository.
    """

    async def test_add_many_saves_aggregates_and_returns_their_ids_in_order(
        self, parcels: BulkParcels
    ) -> None:
        many = [make_parcel(note=str(number)) for number in range(25)]

        answer = await parcels.add_many(many)

        ids = [parcel.id for parcel in many]
        assert answer == ids
        assert [parcel.version for parcel in many] == [1] * 25
        found = await parcels.list_all(ids)
        assert [parcel.model_dump() for parcel in found] == [p.model_dump() for p in many]

    async def test_get_one_returns_the_aggregate_and_rejects_an_absent_id(
        self, parcels: BulkParcels, new_uow: NewUnitOfWork
    ) -> None:
        stored, absent = await store_parcel(parcels), new_parcel_id()

        found = await parcels.get_one(stored.id)
        async with new_uow() as uow:
            new = make_parcel()
            await parcels.add(new, uow)
            own = await parcels.get_one(new.id, uow)
            await uow.rollback()

        assert (found.id, own.id) == (stored.id, new.id)
        for missing in (absent, new.id):
            with raises(EntityNotFoundError) as caught:
                await parcels.get_one(missing)
            assert caught.error.entity_id == missing
            assert missing in str(caught.error)

    async def test_add_many_accepts_an_empty_list(self, parcels: BulkParcels) -> None:
        assert await parcels.add_many([]) == []

    async def test_add_many_rejects_a_generator_instead_of_saving_a_part_of_it(
        self, parcels: BulkParcels
    ) -> None:
        many = [make_parcel(), make_parcel()]
        generator: Any = (parcel for parcel in many)

        with raises(InvalidOperationError):
            await parcels.add_many(generator)

        assert await parcels.list_all([parcel.id for parcel in many]) == []

    async def test_add_many_saves_new_and_changed_aggregates_together(
        self, parcels: BulkParcels
    ) -> None:
        old, new = await store_parcel(parcels), make_parcel(owner="berta")
        old.weigh(7)

        await parcels.add_many([old, new])

        assert ((await load_parcel(parcels, old.id)).grams, old.version) == (7, 2)
        assert ((await load_parcel(parcels, new.id)).owner, new.version) == ("berta", 1)

    async def test_add_many_saves_the_same_aggregates_twice_in_one_unit_of_work(
        self, parcels: BulkParcels, new_uow: NewUnitOfWork
    ) -> None:
        many = [make_parcel() for _ in range(3)]

        async with new_uow() as uow:
            await parcels.add_many(many, uow)
            many[1].weigh(5)
            await parcels.add_many(many, uow)

        assert [parcel.version for parcel in many] == [1, 2, 1]
        assert (await load_parcel(parcels, many[1].id)).grams == 5

    async def test_add_many_with_the_id_of_a_stored_aggregate_saves_nothing_and_names_it(
        self, parcels: BulkParcels
    ) -> None:
        taken = await store_parcel(parcels)
        first, last = make_parcel(), make_parcel()

        with raises(OptimisticConcurrencyError) as caught:
            await parcels.add_many([first, Parcel.register(taken.id, "another owner"), last])

        assert taken.id in caught.error.subject
        assert (caught.error.expected, caught.error.actual) == (0, 1)
        assert await parcels.list_all([first.id, last.id]) == []
        assert (await load_parcel(parcels, taken.id)).owner == "anna"
        assert (first.version, len(first.pending_events)) == (0, 1)

    async def test_add_many_with_a_stale_aggregate_saves_nothing_and_names_it(
        self, parcels: BulkParcels
    ) -> None:
        parcel = await store_parcel(parcels)
        stale = await load_parcel(parcels, parcel.id)
        parcel.weigh(1)
        await parcels.add(parcel)
        new = make_parcel()
        stale.weigh(2)

        with raises(OptimisticConcurrencyError) as caught:
            await parcels.add_many([new, stale])

        assert stale.id in caught.error.subject
        assert (caught.error.expected, caught.error.actual) == (1, 2)
        assert await parcels.get(new.id) is None
        assert (await load_parcel(parcels, parcel.id)).grams == 1

    async def test_add_many_with_a_repeated_id_raises_and_saves_nothing(
        self, parcels: BulkParcels
    ) -> None:
        parcel, other = make_parcel(), make_parcel()

        for batch in ([parcel, other, parcel], [parcel, Parcel.register(parcel.id, "berta")]):
            with raises(InvalidOperationError):
                await parcels.add_many(batch)

        assert await parcels.list_all([parcel.id, other.id]) == []

    async def test_add_many_with_an_entity_of_another_type_raises_and_saves_nothing(
        self, parcels: BulkParcels
    ) -> None:
        parcel = make_parcel()
        stranger: Any = object()

        with raises(InvalidOperationError):
            await parcels.add_many([parcel, stranger])

        assert await parcels.get(parcel.id) is None

    async def test_rollback_undoes_add_many(
        self, parcels: BulkParcels, new_uow: NewUnitOfWork
    ) -> None:
        many = [make_parcel(), make_parcel()]

        async with new_uow() as uow:
            await parcels.add_many(many, uow)
            await uow.rollback()

        assert await parcels.list_all([parcel.id for parcel in many]) == []
        assert [parcel.version for parcel in many] == [0, 0]
