"""One application on every backend: commands, a relay and a projection at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cqrs_ddd_advanced_core import (
    EventSourcedRepository,
    Fields,
    ProjectionDocuments,
    ProjectionHandler,
    Projections,
)
from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    Command,
    DomainEvent,
    IBackend,
    InMemoryBackend,
)
from cqrs_ddd_core.adapters.memory import InMemoryMessageBus
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend
from cqrs_ddd_specifications import field
from tests.databases import new_database

BOXES, COINS = 5, 4


class CoinsInserted(DomainEvent):
    cents: int


class CoinBox(AggregateRoot[str]):
    cents: int = 0

    def insert(self, cents: int) -> None:
        self.add_event(CoinsInserted(cents=cents))

    def apply_CoinsInserted(self, event: CoinsInserted) -> None:
        self.cents += event.cents


class Balances(ProjectionHandler):
    collection = "balances"
    fields: ClassVar[Fields] = {"cents": int}

    def apply_CoinsInserted(self, event: CoinsInserted, documents: ProjectionDocuments) -> None:
        box = str(event.aggregate_id)
        cents = (documents.get(box) or {"cents": 0})["cents"]
        documents.upsert(box, {"cents": cents + event.cents})


class InsertCoins(Command[int]):
    box_id: str
    cents: int


@pytest.fixture(params=["fakes", "sqlite", "sqlite in memory", "postgres"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IBackend]:
    if request.param == "fakes":
        yield InMemoryBackend()
        return
    url = f"sqlite+aiosqlite:///{tmp_path}/bank.db"
    if request.param == "sqlite in memory":
        url = "sqlite+aiosqlite://"
    elif request.param == "postgres":
        postgres_url = request.getfixturevalue("postgres_url")
        url = await asyncio.to_thread(new_database, postgres_url)
    yield SQLAlchemyBackend(url, create_schema=True)


async def test_application_runs_commands_relay_and_projection_on_each_backend(
    backend: IBackend,
) -> None:
    projections = Projections([Balances()])
    app = Application(backend, publisher=InMemoryMessageBus(), services=[projections])
    boxes: EventSourcedRepository[CoinBox, str] = EventSourcedRepository(CoinBox)

    @app.command_handler(InsertCoins)
    async def insert_coins(command: InsertCoins) -> int:
        box = await boxes.get(command.box_id) or CoinBox(id=command.box_id)
        box.insert(command.cents)
        await boxes.add(box)
        return box.cents

    async def send_coins(box_id: str) -> int:
        positions = [
            (await app.send(InsertCoins(box_id=box_id, cents=100))).position for _ in range(COINS)
        ]
        return max(position or 0 for position in positions)

    async with app:
        names = [f"a-{number}" for number in range(BOXES)]
        await app.wait_for(max(await asyncio.gather(*map(send_coins, names))), timeout=30)
        found = await projections.documents.find("balances", field("cents") == 100 * COINS)

        assert len(await found.all()) == BOXES
        while await backend.outbox.get_pending():  # noqa: ASYNC110 - the relay is to publish
            await asyncio.sleep(0.01)


async def test_health_tells_lag_and_heartbeats_on_each_backend(backend: IBackend) -> None:
    app = Application(backend, services=[Projections([Balances()])])

    @app.command_handler(InsertCoins)
    async def insert_coins(command: InsertCoins) -> int:
        box = CoinBox(id=command.box_id)
        box.insert(command.cents)
        await EventSourcedRepository[CoinBox, str](CoinBox).add(box)
        return box.cents

    async with app:
        first = await app.send(InsertCoins(box_id="a-1", cents=100))
        await app.wait_for(first.position, timeout=30)
        await app.services["projections"].stop()
        await app.send(InsertCoins(box_id="a-2", cents=100))
        health = await app.health(timeout=30)

        assert health.is_ready
        assert health.dead_services == ["projections"]
        lag = health.lag["balances"]
        assert (lag.events, lag.dead_letters) == (1, 0)
        assert lag.seconds > 0
        assert [each.service for each in health.heartbeats] == ["heartbeats", "projections"]
        assert json.loads(json.dumps(health.to_json()))["lag"]["balances"]["events"] == 1


class Takings(Balances):
    """Inline projection of the same events."""

    collection = "takings"

    def document_ids(self, event: DomainEvent) -> list[str]:
        return [str(event.aggregate_id)]


def create_bank(backend: IBackend, *projections: ProjectionHandler) -> tuple[Application, Any]:
    """Return an application whose takings are always up to date, and its projections."""
    service = Projections(projections, inline=[Takings()], lease=5.0)
    app = Application(backend, services=[service])

    @app.command_handler(InsertCoins)
    async def insert_coins(command: InsertCoins) -> int:
        boxes: EventSourcedRepository[CoinBox, str] = EventSourcedRepository(CoinBox)
        box = await boxes.get(command.box_id) or CoinBox(id=command.box_id)
        box.insert(command.cents)
        await boxes.add(box)
        return box.cents

    return app, service


async def test_inline_projections_of_an_application_are_written_with_each_command(
    backend: IBackend,
) -> None:
    app, service = create_bank(backend, Balances())

    async with app.open(services=False):
        for _ in range(2):
            await app.send(InsertCoins(box_id="a-1", cents=100))

        assert await service.documents.get("takings", "a-1") == {"cents": 200}
        assert await service.documents.get("balances", "a-1") is None  # No worker has run.


async def test_batch_program_advances_and_rebuilds_the_projections_of_an_application(
    backend: IBackend,
) -> None:
    app, service = create_bank(backend, Balances())
    seen: list[int] = []

    async with app.open(services=False):
        await app.send(InsertCoins(box_id="a-1", cents=100))
        assert await service.create_worker().drain() == 1
        await service.documents.upsert("balances", "a-1", {"cents": 7})
        await service.documents.upsert("takings", "a-1", {"cents": 7})

        for handler in (Balances(), Takings()):
            rebuild = service.create_rebuild(
                handler, on_progress=lambda done: seen.append(done.position)
            )
            await rebuild.run()
        await app.send(InsertCoins(box_id="a-1", cents=100))
        await service.create_worker().drain()

        for collection in ("balances", "takings"):
            assert await service.documents.get(collection, "a-1") == {"cents": 200}
        assert seen == [1, 1]
        assert await service.dead_letters.list_dead_letters("balances") == []


class LaterBalances(Balances):
    """Later version, with another field."""

    version = 2
    fields = {"cents": int, "boxes": int}  # noqa: RUF012 - declared as the documentation does


async def test_application_with_a_later_version_leaves_the_documents_until_a_rebuild(
    backend: IBackend,
) -> None:
    app, service = create_bank(backend, Balances())
    async with app.open(services=False):
        await app.send(InsertCoins(box_id="a-1", cents=100))
        await service.create_worker().drain()

        later, later_service = create_bank(backend, LaterBalances())
        await later_service.prepare()

        assert await later_service.documents.get("balances", "a-1") == {"cents": 100}
        assert later.services
