"""Tests of inline projections, run on every back end."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import pytest

from cqrs_ddd_advanced_core.exceptions import (
    ProjectionVersionError,
)
from cqrs_ddd_advanced_core.ports.positions import IPositionStore
from cqrs_ddd_advanced_core.projections import (
    LiveProjection,
    ProjectionDocuments,
)
from cqrs_ddd_core import DomainEvent
from cqrs_ddd_core.context import get_tenant_id, request_context
from tests.advanced.background_tasks import run_in_background
from tests.advanced.projection_environment import (
    SEED,
    ProjectionEnvironment,
    create_inline_mediator,
)
from tests.advanced.till_domain import (
    Days,
    Inspect,
    ItemSold,
    LaterTills,
    Sell,
    Tills,
    new_till,
    open_and_sell,
    to_stored,
)

SALES = 50
"""Sales of one seller during one rebuild."""


class InlineProjectionKit:
    """Tests of inline projections, over the fixture ``environment``."""

    async def test_inline_projection_is_written_with_the_events(
        self, environment: ProjectionEnvironment
    ) -> None:
        days, till = Days(), new_till()
        mediator = await create_inline_mediator(environment, days)

        await mediator.send(Sell(till_id=till.aggregate_id, cents=120))
        await mediator.send(Sell(till_id=till.aggregate_id, cents=30))

        assert await environment.get_documents(days, "monday") == {
            "monday": {"cents": 150, "count": 2}
        }
        assert await environment.positions.wait_until(10**6, [days.collection], timeout=0.0)

    async def test_inline_projection_handler_receives_the_metadata_of_the_stored_event(
        self, environment: ProjectionEnvironment
    ) -> None:
        class Tenants(Days):
            collection = "tenants"

            def document_ids(self, event: DomainEvent) -> tuple[str, ...]:
                return (str(event.metadata.get("tenant_id")),)

            def _add(self, day: str, cents: int, documents: ProjectionDocuments) -> None:
                documents.upsert("red", {"cents": cents})

        handler, calls = Tenants(), []

        async def on_change(collection: str, ids: Any) -> None:
            calls.append((get_tenant_id(), list(ids)))

        mediator = await create_inline_mediator(environment, handler, on_change=on_change)
        with request_context(tenant_id="red"):
            await mediator.send(Sell(till_id=new_till().aggregate_id, cents=4))

            assert await environment.get_documents(handler, "red") == {"red": {"cents": 4}}
            assert await LiveProjection(handler, environment.events).get("red") == {"cents": 4}
        assert calls == [("red", ["red"])]

    async def test_failing_inline_projection_handler_fails_the_command(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills, till = Tills(), new_till()
        tills.rejected = {13}
        mediator = await create_inline_mediator(environment, tills)
        await mediator.send(Sell(till_id=till.aggregate_id, cents=1))

        with pytest.raises(ValueError, match="cannot process 13"):
            await mediator.send(Sell(till_id=till.aggregate_id, cents=13))

        assert len(await environment.events.get_events(till.aggregate_id)) == 1
        found = await environment.get_documents(tills, till.aggregate_id)
        assert found[till.aggregate_id]["cents"] == 1

    async def test_concurrent_commands_lose_no_change_of_one_inline_document(
        self, environment: ProjectionEnvironment
    ) -> None:
        days = Days()
        mediator = await create_inline_mediator(environment, days)

        async def sell(number: int) -> None:
            # Each seller has a till of its own: they share only the document of the day.
            for _ in range(5):
                await mediator.send(Sell(till_id=f"stall-{number}", cents=number))

        await asyncio.gather(*(sell(number) for number in range(10)))

        found = await environment.get_documents(days, "monday")
        assert found == {"monday": {"cents": 225, "count": 50}}

    async def test_rebuild_of_an_inline_projection_during_commands_loses_no_event(
        self, environment: ProjectionEnvironment
    ) -> None:
        days = Days()
        mediator = await create_inline_mediator(environment, days)
        sent = 0

        async def sell(number: int, is_over: asyncio.Event) -> None:
            nonlocal sent
            # The loop is bounded because the lock of SQLite is not fair: a task that sells without
            # a pause can keep the lock from all others.
            for _ in range(SALES):
                if is_over.is_set():
                    return
                await mediator.send(Sell(till_id=f"booth-{number}", cents=1))
                sent += 1
                await asyncio.sleep(0.002 * number)

        for _ in range(4):
            async with run_in_background(*(partial(sell, number) for number in range(4))):
                await asyncio.sleep(0.01)
                await environment.rebuild(
                    days, batch=50, positions=SlowReplacement(environment.positions)
                ).run()

        assert await environment.get_documents(days, "monday") == {
            "monday": {"cents": sent, "count": sent}
        }
        assert sent > 3

    async def test_inline_projection_of_an_unknown_version_fails_only_commands_with_events(
        self, environment: ProjectionEnvironment
    ) -> None:
        mediator = await create_inline_mediator(environment, Tills())
        till = new_till().aggregate_id
        await mediator.send(Sell(till_id=till, cents=1))
        await environment.rebuild(LaterTills()).run()

        with pytest.raises(ProjectionVersionError, match="version 2 here, too") as caught:
            await mediator.send(Sell(till_id=till, cents=1))

        assert (caught.value.asked, caught.value.live) == (1, 2)
        assert len(await environment.events.get_events(till)) == 1
        await mediator.send(Inspect(till_id=till))

    async def test_process_with_two_versions_writes_the_live_one_before_and_after_rebuilds(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, both = new_till().aggregate_id, (LaterTills(), Tills())
        old = await create_inline_mediator(environment, Tills())
        await old.send(Sell(till_id=till, cents=100))
        new = await create_inline_mediator(environment, *both)

        await new.send(Sell(till_id=till, cents=20))
        await old.send(Sell(till_id=till, cents=3))
        (before,) = (await environment.get_documents(Tills(), till)).values()
        await environment.rebuild(LaterTills()).run()
        await new.send(Sell(till_id=till, cents=10))
        (after,) = (await environment.get_documents(Tills(), till)).values()
        await environment.rebuild(Tills()).run(replace_later=True)
        await old.send(Sell(till_id=till, cents=1))
        await new.send(Sell(till_id=till, cents=1))
        (back,) = (await environment.get_documents(Tills(), till)).values()

        assert (before["cents"], after, back["cents"]) == (123, {"euros": 1.33}, 135)

    async def test_process_with_another_version_than_the_live_one_starts(
        self, environment: ProjectionEnvironment
    ) -> None:
        till = new_till().aggregate_id
        await environment.append(to_stored(new_till(), open_and_sell(1)))
        await create_inline_mediator(environment, LaterTills())

        rolled_back = await create_inline_mediator(environment, Tills())

        await rolled_back.send(Inspect(till_id=till))
        with pytest.raises(ProjectionVersionError, match="version 2"):
            await rolled_back.send(Sell(till_id=till, cents=1))
        with pytest.raises(ProjectionVersionError, match="replace_later=True"):
            await environment.rebuild(Tills()).run()

    async def test_projection_of_workers_cannot_be_written_inline(
        self, environment: ProjectionEnvironment
    ) -> None:
        days = Days()
        await environment.worker(days).drain()

        with pytest.raises(ProjectionVersionError, match="is run by workers"):
            await create_inline_mediator(environment, days)

    async def test_rebuild_adds_the_events_stored_before_the_inline_projection_existed(
        self, environment: ProjectionEnvironment
    ) -> None:
        days, till = Days(), new_till()
        await environment.append(to_stored(till, [ItemSold(cents=3)]))
        mediator = await create_inline_mediator(environment, days)

        await environment.rebuild(days).run()
        await mediator.send(Sell(till_id=new_till().aggregate_id, cents=4))

        assert await environment.get_documents(days, "monday") == {
            "monday": {"cents": 7, "count": 2}
        }

    async def test_cancelled_commands_leave_inline_projection_and_events_consistent(
        self, environment: ProjectionEnvironment
    ) -> None:
        chance, days = random.Random(SEED), Days()
        mediator = await create_inline_mediator(environment, days)

        async def sell(number: int) -> None:
            command = Sell(till_id=f"kiosk-{number % 5}", cents=number)
            task = asyncio.ensure_future(mediator.send(command))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.02)
                task.cancel()
            await asyncio.wait({task})

        for _ in range(4):
            await asyncio.gather(*(sell(number) for number in range(12)))

        live = await LiveProjection(days, environment.events).get_all()
        assert await environment.get_documents(days, "monday") == live
        await asyncio.wait_for(mediator.send(Sell(till_id="kiosk-0", cents=1)), 30)


class SlowReplacement:
    """Position store that waits between the last read of the events and the replacement."""

    def __init__(self, positions: IPositionStore) -> None:
        self._positions = positions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._positions, name)

    async def replace(self, *arguments: Any, **options: Any) -> None:
        await asyncio.sleep(0.03)
        await self._positions.replace(*arguments, **options)
