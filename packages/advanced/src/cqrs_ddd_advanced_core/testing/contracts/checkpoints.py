"""Checkpoints for the contracts of positions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count

from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    LeaseLostError,
)
from cqrs_ddd_core.testing.assertions import raises

from ...ports.positions import Checkpoint, IPositionStore, ProjectionPosition

NewUnitOfWork = Callable[[], UnitOfWork]

_numbers = count(1)


def new_name() -> str:
    """One that no other test of this process uses."""
    return f"projection-{next(_numbers):05}"


async def claim(
    positions: IPositionStore,
    projection: str,
    worker_id: str,
    *,
    version: int = 1,
    lease: float = 30.0,
    restart: bool = False,
) -> Checkpoint:
    checkpoint = await positions.claim(
        projection, worker_id, version=version, lease=lease, restart=restart
    )
    assert checkpoint is not None, f"{worker_id} did not get {projection}"
    return checkpoint


async def advance(
    positions: IPositionStore,
    checkpoint: Checkpoint,
    position: int,
    new_uow: NewUnitOfWork,
    lease: float = 30.0,
) -> Checkpoint:
    async with new_uow() as uow:
        return await positions.advance(checkpoint, position, lease=lease, uow=uow)


async def assert_lease_lost(
    positions: IPositionStore, checkpoint: Checkpoint, new_uow: NewUnitOfWork
) -> None:
    """It cannot advance."""
    with raises(LeaseLostError) as lost:
        await advance(positions, checkpoint, checkpoint.position + 1, new_uow)
    assert lost.error.resource == checkpoint.projection


async def share_projection(
    positions: IPositionStore, projection: str, new_uow: NewUnitOfWork, *, version: int = 1
) -> None:
    async with new_uow() as uow:
        await positions.lock_shared(projection, version=version, uow=uow)


async def replace_projection(
    positions: IPositionStore, projection: str, by: Checkpoint, uow: UnitOfWork
) -> None:
    await positions.lock_exclusive(projection, uow=uow)
    await positions.replace(projection, by, uow=uow)


async def find_position(positions: IPositionStore, projection: str) -> ProjectionPosition:
    (found,) = await positions.list_positions([projection])
    return found


async def names_of(positions: IPositionStore, projections: Collection[str]) -> list[str]:
    return [each.projection for each in await positions.list_positions(projections)]
