"""A marker in the values of commands, events and rows reaches no log and no stored error."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from pydantic import Field, TypeAdapter
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_advanced_core import (
    AggregateSnapshots,
    EventSourcedRepository,
    FieldLevelMergeStrategy,
    ProjectionHandler,
    Projections,
)
from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    Command,
    DomainEvent,
    HandlerRegistry,
    OutboxRelay,
    standard_middlewares,
)
from cqrs_ddd_core.middleware import LoggingMiddleware
from cqrs_ddd_core.ports import OutboxMessage, StoredEvent
from cqrs_ddd_core.primitives.retry import FixedRetryPolicy
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend, Tables, VersionMixin
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemySnapshotStore

MARKER = "m4rk3r-of-a-person"

Fail = Callable[["World"], Awaitable[object]]


class PatientAdmitted(DomainEvent):
    name: str


class Patient(AggregateRoot[str]):
    name: str
    room: int = 0

    @classmethod
    def admit(cls, patient_id: str, name: str) -> Patient:
        patient = cls.create_empty(patient_id)
        patient.add_event(PatientAdmitted(name=name))
        return patient

    def apply_PatientAdmitted(self, event: PatientAdmitted) -> None:
        self.name = event.name


class Base(DeclarativeBase):
    pass


class PatientModel(VersionMixin, Base):
    __tablename__ = "marked_patients"
    __table_args__ = (sa.CheckConstraint("room < 100", name="ck_marked_room"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    room: Mapped[int]


class AdmitPatient(Command[None]):
    name: str
    kind: str


class Patients(ProjectionHandler):
    collection = "marked_patients_list"

    def apply_PatientAdmitted(self, event: PatientAdmitted, documents: Any) -> None:
        TypeAdapter(int).validate_python(event.name)


@dataclass
class World:
    """Application whose handlers, brokers and projections fail."""

    app: Application
    backend: SQLAlchemyBackend
    handlers: HandlerRegistry

    async def send(self, kind: str) -> None:
        await self.app.send(AdmitPatient(name=MARKER, kind=kind))

    async def save(self, **fields: Any) -> None:
        patients = self.backend.repository(Patient, PatientModel)
        async with self.backend.unit_of_work():
            await patients.add(Patient(**{"id": "p-1", "name": MARKER, **fields}))


class Handlers:
    """Command handlers that fail with the marker in the text of the error."""

    def __init__(self, backend: SQLAlchemyBackend) -> None:
        self._patients = backend.repository(Patient, PatientModel)

    async def admit(self, command: AdmitPatient) -> None:
        if command.kind == "own error":
            raise ValueError(f"{command.name} has no bed")
        if command.kind == "validation":
            Patient.model_validate({"id": "p-1", "name": [command.name], "room": command.name})
        if command.kind == "unique":
            for number in range(2):
                await self._patients.add(Patient(id=f"p-{number}", name=command.name))
        if command.kind == "check":
            await self._patients.add(Patient(id="p-1", name=command.name, room=500))
        if command.kind == "event":
            await self._patients.add(Patient.admit("p-1", command.name))


class Broker:
    async def publish(self, message: OutboxMessage) -> None:
        raise ConnectionError(f"rejected {message.payload}")


@pytest.fixture
async def world(engine: AsyncEngine, tables: Tables) -> AsyncIterator[World]:
    backend = SQLAlchemyBackend(engine, tables=tables)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    relay = OutboxRelay(backend.outbox, Broker(), retry=FixedRetryPolicy(max_attempts=1, delay=0.0))
    app = Application(
        backend,
        middlewares=standard_middlewares(LoggingMiddleware()),
        relay=relay,
        services=[Projections([Patients()])],
    )
    handlers = Handlers(backend)
    app.handlers.register_command_handler(AdmitPatient, handlers.admit)
    async with app.open(services=False):
        yield World(app, backend, app.handlers)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


def _send(kind: str) -> Fail:
    async def fail(world: World) -> None:
        await world.send(kind)

    fail.__name__ = f"command_{kind.replace(' ', '_')}"
    return fail


async def store_a_row_that_is_not_unique(world: World) -> None:
    await world.save()
    await world.save(id="p-2")


async def store_a_number_that_is_too_large(world: World) -> None:
    await world.save(room=2**70)


async def read_an_invalid_row(world: World) -> None:
    async with world.backend.engine.begin() as connection:
        values = {"id": "p-3", "name": MARKER, "room": 1, "version": 1}
        await connection.execute(sa.insert(PatientModel.__table__).values(values))  # type: ignore[arg-type]
    patients = world.backend.repository(Invalid, PatientModel)
    await patients.get("p-3")


class Invalid(Patient):
    name: Annotated[str, Field(max_length=3)]


async def relay_to_a_failing_broker(world: World) -> None:
    await world.send("event")
    for service in world.app.services.values():
        if isinstance(service, OutboxRelay):
            await service.run_once()
    (letter,) = await world.backend.outbox.list_dead_letters()
    assert letter.error is not None
    assert letter.error.startswith("ConnectionError at ")


async def project_by_a_failing_handler(world: World) -> None:
    await world.send("event")
    projections = next(s for s in world.app.services.values() if isinstance(s, Projections))
    await projections.create_worker().drain()


async def decode_an_unknown_payload(world: World) -> None:
    stored = StoredEvent(
        event_id="e-1",
        event_type="PatientAdmitted",
        aggregate_id="p-9",
        aggregate_type="Patient",
        version=1,
        payload={"name": [MARKER]},
    )
    await world.backend.event_store.append(stored)
    Patient.rehydrate("p-9", await world.backend.event_store.get_events("p-9"))


async def load_an_unreadable_snapshot(world: World) -> None:
    store = SQLAlchemySnapshotStore(world.backend.session_factory, tables=world.backend.tables)
    patients = EventSourcedRepository(
        Patient, event_store=world.backend.event_store, snapshot_store=store
    )
    async with world.backend.unit_of_work():
        await patients.add(Patient.admit("p-1", MARKER))
    state = {"id": "p-1", "name": [MARKER], "room": MARKER}
    snapshots = AggregateSnapshots(Patient, store)
    written = snapshots.create(Patient.rehydrate("p-1", await _read_events(world)))
    assert written is not None
    await store.save(replace(written, state=json.dumps(state).encode()))

    assert await patients.get("p-1") is not None


async def _read_events(world: World) -> Sequence[StoredEvent]:
    return await world.backend.event_store.get_events("p-1")


async def merge_two_changes_of_one_field(world: World) -> None:
    sides = ({"name": f"{MARKER} {side}"} for side in ("before", "theirs", "mine"))
    FieldLevelMergeStrategy().merge(*sides)


async def append_a_version_that_is_taken(world: World) -> None:
    await world.send("event")
    (event,) = await _read_events(world)
    await world.backend.event_store.append(replace(event, event_id="e-2"))


FAILURES: list[Fail] = [
    _send("own error"),
    _send("validation"),
    _send("unique"),
    _send("check"),
    store_a_row_that_is_not_unique,
    store_a_number_that_is_too_large,
    read_an_invalid_row,
    relay_to_a_failing_broker,
    project_by_a_failing_handler,
    decode_an_unknown_payload,
    load_an_unreadable_snapshot,
    merge_two_changes_of_one_field,
    append_a_version_that_is_taken,
]


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
async def test_no_value_of_a_message_is_logged_or_stored_with_an_error(
    world: World, fail: Fail, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        try:
            await fail(world)
        except Exception as error:
            # A server may log these errors; an application answers for the texts of its own.
            if type(error).__module__.startswith("cqrs_ddd"):
                shown = "".join(traceback.format_exception(error))
                assert MARKER not in shown, shown
    assert MARKER not in caplog.text, caplog.text
    for name, text in await _read_stored_errors(world):
        assert MARKER not in text, f"{name}: {text}"


async def _read_stored_errors(world: World) -> list[tuple[str, str]]:
    """Return all texts of the toolkit's tables but the messages and documents themselves."""
    found = []
    data = {"payload", "metadata", "outcome", "state"}
    async with world.backend.engine.connect() as connection:
        for table in world.backend.tables.metadata.sorted_tables:
            columns = [column for column in table.columns if column.name not in data]
            for row in await connection.execute(sa.select(*columns)):
                found += [(f"{table.name}", str(value)) for value in row]
    return found


async def test_marker_check_finds_a_value_in_a_stored_error(world: World) -> None:
    await world.send("event")
    outbox = world.backend.tables.outbox
    async with world.backend.engine.begin() as connection:
        await connection.execute(sa.update(outbox).values(error=f"failed with {MARKER}"))

    assert any(MARKER in text for _, text in await _read_stored_errors(world))
