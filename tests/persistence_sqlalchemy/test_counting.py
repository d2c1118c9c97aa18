"""Tests of concurrent changes of one aggregate, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from cqrs_ddd_advanced_core.conflict import AggregateUpdater, FieldLevelMergeStrategy
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.testing.contracts.parcel import Parcel, load_parcel, store_parcel
from tests.advanced.counting_kit import CountingKit
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork
from tests.persistence_sqlalchemy.parcels import Parcels


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.full)])
def times(request: pytest.FixtureRequest) -> int:
    times: int = request.param
    return times


class TestSQLAlchemyCounting(CountingKit):
    pass


class OvertakenUpdater(AggregateUpdater[Parcel, str]):
    """Updater for which a rival changes the owner after the first load."""

    loadings = 0

    async def _load(self, entity_id: str, uow: UnitOfWork) -> Parcel:
        found = await super()._load(entity_id, uow)
        self.loadings += 1
        if self.loadings == 1:
            async with self._uow_factory() as other:
                rival = await super()._load(entity_id, other)
                rival.owner = "theirs"
                await self._repository.add(rival, other)
        return found


async def test_aggregate_updater_merges_its_change_with_a_committed_one(
    parcels: Parcels, new_uow: NewUnitOfWork
) -> None:
    parcel = await store_parcel(parcels, note="as stored")
    handler = OvertakenUpdater(parcels, uow_factory=new_uow, strategy=FieldLevelMergeStrategy())
    owners = []

    def change(found: Parcel) -> None:
        owners.append(found.owner)
        found.note = "mine"

    await handler.update(parcel.id, change)

    stored = await load_parcel(parcels, parcel.id)
    assert (stored.owner, stored.note, stored.version) == ("theirs", "mine", 3)
    assert (owners, handler.loadings) == (["anna"], 2)
