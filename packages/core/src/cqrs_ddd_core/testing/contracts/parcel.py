"""Aggregate of the contracts; an adapter under test maps it to its table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pydantic

from ...domain import AggregateRoot, DomainEvent
from ...ports.repository import IRepository

_numbers: Iterator[int] = count(1)


class ParcelRegistered(DomainEvent):
    """Event of a new parcel."""

    owner: str


class ParcelWeighed(DomainEvent):
    """Event of a weighing."""

    grams: int


class Parcel(AggregateRoot[str]):
    """Aggregate that is registered once and weighed any number of times.

    ``grams`` and ``note`` may be NULL in a database; ``is_scanned`` is not stored.
    """

    owner: str
    grams: int | None = None
    note: str | None = None
    _is_scanned: bool = pydantic.PrivateAttr(default=False)

    @property
    def is_scanned(self) -> bool:
        """Return whether ``scan`` was called since the parcel was created or loaded."""
        return self._is_scanned

    def scan(self) -> None:
        """Note in a private attribute that the parcel was scanned."""
        self._is_scanned = True

    @classmethod
    def register(cls, parcel_id: str, owner: str) -> Parcel:
        """Return a new parcel with a ``ParcelRegistered`` event."""
        parcel = cls.create_empty(parcel_id)
        parcel.add_event(ParcelRegistered(owner=owner))
        return parcel

    def weigh(self, grams: int) -> None:
        """Record a ``ParcelWeighed`` event."""
        self.add_event(ParcelWeighed(grams=grams))

    def apply_ParcelRegistered(self, event: ParcelRegistered) -> None:
        """Set the owner."""
        self.owner = event.owner

    def apply_ParcelWeighed(self, event: ParcelWeighed) -> None:
        """Set the weight."""
        self.grams = event.grams


def new_parcel_id() -> str:
    """Return an id that no other test of this process uses."""
    return f"parcel-{next(_numbers)}"


def make_parcel(
    owner: str = "anna", *, grams: int | None = None, note: str | None = None
) -> Parcel:
    """Return a new parcel that is not stored; ``grams`` and ``note`` are set without an event."""
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
    """Store a new parcel and return it."""
    parcel = make_parcel(owner, grams=grams, note=note)
    await parcels.add(parcel)
    return parcel


async def load_parcel(parcels: IRepository[Parcel, str], parcel_id: str) -> Parcel:
    """Return the stored parcel, or fail if it is absent."""
    found = await parcels.get(parcel_id)
    assert found is not None, f"{parcel_id} is not stored"
    return found
