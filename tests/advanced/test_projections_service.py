"""Projections as a service of an application."""

from __future__ import annotations

import inspect
from typing import ClassVar

import pytest

from cqrs_ddd_advanced_core import (
    Fields,
    ProjectionDocuments,
    ProjectionHandler,
    Projections,
    ProjectionWorker,
    UnknownProjectionError,
)
from cqrs_ddd_advanced_core.projections.worker import WorkerOptions
from cqrs_ddd_core import (
    Application,
    DomainEvent,
    InMemoryBackend,
    InvalidOperationError,
    StoredEvent,
)
from cqrs_ddd_specifications import field


class SeatSold(DomainEvent):
    cents: int


class Revenue(ProjectionHandler):
    collection = "revenue"
    fields: ClassVar[Fields] = {"cents": int}

    def apply_SeatSold(self, event: SeatSold, documents: ProjectionDocuments) -> None:
        show = str(event.aggregate_id)
        cents = (documents.get(show) or {"cents": 0})["cents"]
        documents.upsert(show, {"cents": cents + event.cents})


async def sell(backend: InMemoryBackend, version: int, cents: int) -> None:
    event = SeatSold(
        cents=cents, aggregate_id="s-1", aggregate_type="Show", aggregate_version=version
    )
    async with backend.unit_of_work() as uow:
        await uow.event_store.append(StoredEvent.from_event(event))


async def test_application_projects_events_that_its_callers_wait_for() -> None:
    backend, projections = InMemoryBackend(), Projections([Revenue()])

    async with Application(backend, services=[projections]) as app:
        await sell(backend, 1, 900)
        await sell(backend, 2, 1100)
        await app.wait_for(await backend.event_store.latest_position())
        found = await projections.documents.find("revenue", field("cents") > 1000)

        assert await found.all() == [{"cents": 2000}]


async def test_wait_for_projections_that_no_worker_has_run_is_an_error() -> None:
    backend = InMemoryBackend()
    app = Application(backend, services=[Projections([Revenue()])])

    async with app.open(services=False):
        await sell(backend, 1, 900)
        with pytest.raises(UnknownProjectionError, match="no worker has run revenue"):
            await app.wait_for(1, timeout=0.01)


def test_projections_without_an_application_have_no_documents() -> None:
    with pytest.raises(InvalidOperationError, match="the service projections is not bound"):
        _ = Projections([Revenue()]).documents


def test_projections_take_the_options_of_a_worker_with_the_same_types() -> None:
    parameters = inspect.signature(ProjectionWorker).parameters.values()
    of_the_backend = {"projections", "events", "positions", "dead_letters", "uow_factory", "signal"}

    options = {each.name: each.annotation for each in parameters if each.name not in of_the_backend}

    assert WorkerOptions.__annotations__.keys() == options.keys()
    assert {
        name: each.__forward_arg__ for name, each in WorkerOptions.__annotations__.items()
    } == options
