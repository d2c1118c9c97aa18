"""The aggregate that the contracts work with; an adapter under test maps it to its table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ...domain import AggregateRoot, DomainEvent
from ...ports.repository import IRepository

_numbers: Iterator[int] = count(1)


class ParcelRegistered(DomainEvent):
    owner: str


class ParcelWeighed(DomainEvent):
    grams: int


class Parcel(AggregateRoot[str]):
    """Registered once, weighed any number of times; ``grams`` and ``note`` may be NULL."""

    owner: str
    grams: int | None = None
    note: str | None = None

    @classmethod
    def register(cls, parcel_id: str, owner: str) -> Parcel:
        parcel = cls.create_empty(parcel_id)
        parcel.add_event(ParcelRegistered(owner=owner))
        return parcel

    def weigh(self, grams: int) -> None:
        self.add_event(ParcelWeighed(grams=grams))

    def apply_ParcelRegistered(self, event: ParcelRegistered) -> None:
        self.owner = event.owner

    def apply_ParcelWeighed(self, event: ParcelWeighed) -> None:
        self.grams = event.grams


def new_parcel_id() -> str:
    """An id that no other test of this process uses."""
    return f"parcel-{next(_numbers)}"


def make_parcel(
    owner: str = "anna", *, grams: int | None = None, note: str | None = None
) -> Parcel:
    parcel = Parcel.register(new_parcel_id(), owner)
    parcel.grams, parcel.note = grams, note
    return parcel


async def store_parcel(
    parcels: IRepository[Parcel, str],
    owner: str = "anna",
    *,
    grams: int | None = None,
    note: str | None = None,
) -> Parcel:
    parcel = make_parcel(owner, grams=grams, note=note)
    await parcels.add(parcel)
    return parcel


async def load_parcel(parcels: IRepository[Parcel, str], parcel_id: str) -> Parcel:
    found = await parcels.get(parcel_id)
    assert found is not None, f"{parcel_id} is not stored"
    return found
