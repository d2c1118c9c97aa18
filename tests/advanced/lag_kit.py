"""Tests of the lag of projections, run on every back end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from cqrs_ddd_advanced_core import ProjectionLag, measure_projection_lag
from cqrs_ddd_core import StoredEvent
from cqrs_ddd_core.adapters.memory import FakeClock
from tests.advanced.projection_environment import ProjectionEnvironment, create_inline_mediator
from tests.advanced.till_domain import Days, Sell, Tills, new_till, open_and_sell, to_stored

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


class ProjectionLagKit:
    """Tests of ``measure_projection_lag``, over the fixture ``environment``."""

    async def test_lag_of_a_projection_without_a_position_is_absent(
        self, environment: ProjectionEnvironment
    ) -> None:
        await environment.append(create_sales(60))

        assert await measure(environment) == []

    async def test_lag_of_an_up_to_date_projection_is_zero(
        self, environment: ProjectionEnvironment
    ) -> None:
        await environment.append(create_sales(60))
        await environment.worker(Tills()).drain()

        (lag,) = await measure(environment)

        assert (lag.projection, lag.version) == ("tills", 1)
        assert lag.position == await environment.events.latest_position()
        assert (lag.events, lag.seconds) == (0, 0.0)
        assert (lag.dead_letters, lag.blocked_streams) == (0, 0)

    async def test_lag_counts_the_events_after_the_position_and_the_age_of_the_first(
        self, environment: ProjectionEnvironment
    ) -> None:
        await environment.append(create_sales(90))
        await environment.worker(Days()).drain()
        await environment.append(create_sales(60, 120))
        await environment.worker(Tills()).drain()
        await environment.append(create_sales(30))

        days, tills = await measure(environment)

        assert (days.projection, days.events, days.seconds) == ("days", 5, 60.0)
        assert (tills.projection, tills.events, tills.seconds) == ("tills", 2, 30.0)

    async def test_lag_of_an_event_from_a_fast_clock_is_not_negative(
        self, environment: ProjectionEnvironment
    ) -> None:
        await environment.worker(Tills()).drain()
        await environment.append(create_sales(-60))

        (lag,) = await measure(environment)

        assert (lag.events, lag.seconds) == (2, 0.0)

    async def test_lag_of_an_inline_projection_is_zero(
        self, environment: ProjectionEnvironment
    ) -> None:
        mediator = await create_inline_mediator(environment, Days())
        await mediator.send(Sell(till_id=new_till().aggregate_id, cents=5))

        (lag,) = await measure(environment)

        assert (lag.position, lag.events, lag.seconds) == (None, 0, 0.0)

    async def test_lag_names_the_worker_that_holds_the_lease(
        self, environment: ProjectionEnvironment
    ) -> None:
        run = environment.run(Tills(), "a worker")
        await run.claim()
        held = await measure(environment)
        await run.release()

        assert [lag.worker_id for lag in held] == ["a worker"]
        assert [lag.worker_id for lag in await measure(environment)] == [None]

    async def test_lag_counts_dead_letters_and_the_streams_that_they_block(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills = Tills()
        tills.rejected.add(13)
        await environment.append(
            to_stored(new_till(), open_and_sell(13, 1)), to_stored(new_till(), open_and_sell(1))
        )
        await environment.worker(tills, Days()).drain()

        days, lag = await measure(environment)

        assert (days.dead_letters, days.blocked_streams) == (0, 0)
        assert (lag.events, lag.dead_letters, lag.blocked_streams) == (0, 2, 1)


async def measure(environment: ProjectionEnvironment) -> Sequence[ProjectionLag]:
    return await measure_projection_lag(
        environment.events,
        environment.positions,
        dead_letters=environment.dead_letters,
        clock=FakeClock(NOW),
    )


def create_sales(*ages: float) -> list[StoredEvent]:
    """Build the events of a new till: a sale for each age in seconds, after an opening as old."""
    stored = to_stored(new_till(), open_and_sell(*(1 for _ in ages)))
    return [
        replace(event, occurred_at=NOW - timedelta(seconds=age))
        for event, age in zip(stored, (ages[0], *ages), strict=True)
    ]
