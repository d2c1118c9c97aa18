"""Helpers of the position contracts: claims, advances and replacements."""

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
    """Return a projection name that no other test of this process uses."""
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
    """Claim a projection and return the checkpoint, which must exist; ``lease`` is in seconds."""
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
    """Advance in a transaction of its own and return the checkpoint; ``lease`` is in seconds."""
    async with new_uow() as uow:
        return await positions.advance(checkpoint, position, lease=lease, uow=uow)


async def assert_lease_lost(
    positions: IPositionStore, checkpoint: Checkpoint, new_uow: NewUnitOfWork
) -> None:
    """Assert that advancing from the checkpoint raises ``LeaseLostError``."""
    with raises(LeaseLostError) as lost:
        await advance(positions, checkpoint, checkpoint.position + 1, new_uow)
    assert lost.error.resource == checkpoint.projection


async def share_projection(
    positions: IPositionStore, projection: str, new_uow: NewUnitOfWork, *, version: int = 1
) -> int:
    """Commit a transaction that writes the projection inline; return the live version."""
    async with new_uow() as uow:
        return await positions.lock_shared(projection, version=version, uow=uow)


async def replace_projection(
    positions: IPositionStore, projection: str, by: Checkpoint, uow: UnitOfWork
) -> None:
    """Lock the projection exclusively and replace it by the one of the checkpoint ``by``."""
    await positions.lock_exclusive(projection, uow=uow)
    await positions.replace(projection, by, uow=uow)


async def find_position(positions: IPositionStore, projection: str) -> ProjectionPosition:
    """Return the committed position of a projection that has one."""
    (found,) = await positions.list_positions([projection])
    return found


async def list_names(positions: IPositionStore, projections: Collection[str]) -> list[str]:
    """Return the names of the given projections that have a position."""
    return [each.projection for each in await positions.list_positions(projections)]
