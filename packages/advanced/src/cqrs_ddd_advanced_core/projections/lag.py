"""Lag of projections behind the event store."""

from __future__ import annotations

from dataclasses import dataclass

from cqrs_ddd_core import system_tenant
from cqrs_ddd_core.ports import IClock, IEventLog
from cqrs_ddd_core.spi.system_clock import SystemClock

from ..ports import DeadLetterCount, IDeadLetterStore, IPositionStore, ProjectionPosition


@dataclass(frozen=True, kw_only=True)
class ProjectionLag(ProjectionPosition):
    """Position of a projection, with the number and the age of the events after it.

    A dead letter lies before the position, so ``events`` and ``seconds`` do not include it.

    Attributes:
        events: largest possible number of committed events after the position; it counts positions,
            and a transaction that was rolled back leaves some unused. 0 for an inline projection.
        seconds: age of the oldest of these events, 0 without one.
        dead_letters: number of failed, waiting and skipped events.
        blocked_streams: number of streams whose new events wait behind a failed one.
    """

    events: int
    seconds: float
    dead_letters: int
    blocked_streams: int


async def measure_projection_lag(
    events: IEventLog,
    positions: IPositionStore,
    *,
    dead_letters: IDeadLetterStore,
    clock: IClock | None = None,
) -> list[ProjectionLag]:
    """Return the lag of each projection that has a position, by name, over all tenants.

    Events that a slow transaction keeps from readers count, since the projection waits for it. An
    age is the difference between ``clock`` and the time at which the event occurred, by the clock
    of the host that recorded it.

    Args:
        events: event store.
        positions: store of positions.
        dead_letters: store of dead letters.
        clock: measures ages; by default the system clock.
    """
    with system_tenant():
        found = await positions.list_positions()
        counts = await dead_letters.count_dead_letters()
        end = await events.highest_position()
        now = (clock or SystemClock()).now()
        ages = {end: 0.0}
        for position in {each.position for each in found if each.position is not None} - {end}:
            oldest = await events.get_first_committed(after=position)
            ages[position] = (now - oldest.occurred_at).total_seconds() if oldest else 0.0
    lags = []
    for each in found:
        position = end if each.position is None else each.position
        lags.append(
            ProjectionLag(
                **vars(each),
                **vars(counts.get(each.projection, DeadLetterCount())),
                events=max(0, end - position),
                seconds=max(0.0, ages[position]),
            )
        )
    return lags
