"""A marker in the values of commands, events and rows reaches no log and no stored error."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pydantic
import pytest
import sqlalchemy as sa
from pydantic import Field, TypeAdapter
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_advanced_core import (
    AggregateSnapshots,
    EventSourcedRepository,
    FieldLevelMergeStrategy,
    MergeConflictError,
    PoisonEventPolicy,
    ProjectionHandler,
    Projections,
)
from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    Command,
    DomainEvent,
    OutboxRelay,
    standard_middlewares,
)
from cqrs_ddd_core.middleware import LoggingMiddleware
from cqrs_ddd_core.ports import OutboxMessage, StoredEvent
from cqrs_ddd_core.primitives.exceptions import (
    ConstraintViolationError,
    DuplicateKeyError,
    EventApplicationError,
    OptimisticConcurrencyError,
    SerializationError,
    ValidationError,
)
from cqrs_ddd_core.primitives.retry import FixedRetryPolicy
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend, Tables, VersionMixin
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemySnapshotStore

MARKER = "m4rk3r_of_a_person"
"""An identifier, so that it is found as the key of a dict, too."""

NO_RETRY = FixedRetryPolicy(max_attempts=1, delay=0.0)

Fail = Callable[["World"], Awaitable[object]]


class PatientAdmitted(DomainEvent):
    name: str
    doses: dict[str, int] = Field(default_factory=dict)


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
    projections: Projections

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
        raise ValueError(f"rejected {message.payload}")


@pytest.fixture
async def world(engine: AsyncEngine, tables: Tables) -> AsyncIterator[World]:
    backend = SQLAlchemyBackend(engine, tables=tables)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    relay = OutboxRelay(backend.outbox, Broker(), retry=NO_RETRY)
    projections = Projections([Patients()], on_poison=PoisonEventPolicy.SKIP, retry=NO_RETRY)
    app = Application(
        backend,
        middlewares=standard_middlewares(LoggingMiddleware()),
        relay=relay,
        services=[projections],
    )
    handlers = Handlers(backend)
    app.handlers.register_command_handler(AdmitPatient, handlers.admit)
    async with app.open(services=False):
        yield World(app, backend, projections)
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
    assert isinstance(world.app.relay, OutboxRelay)
    await world.app.relay.run_once()
    (letter,) = await world.backend.outbox.list_dead_letters()
    assert letter.error is not None
    assert letter.error.startswith("ValueError at ")


async def project_by_a_failing_handler(world: World) -> None:
    await world.send("event")
    await world.projections.create_worker().drain()
    (letter,) = await world.projections.dead_letters.list_dead_letters()
    assert letter.error is not None
    assert letter.error.startswith("ValidationError of int")


async def decode_an_invalid_value(world: World) -> None:
    await _decode(world, {"name": [MARKER]})


async def decode_an_invalid_value_of_a_personal_key(world: World) -> None:
    await _decode(world, {"name": "somebody", "doses": {MARKER: "much"}})


async def _decode(world: World, payload: dict[str, object]) -> None:
    stored = StoredEvent(
        event_id="e-1",
        event_type="PatientAdmitted",
        aggregate_id="p-9",
        aggregate_type="Patient",
        version=1,
        payload=payload,
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


FAILURES: list[tuple[Fail, type[Exception] | None]] = [
    (_send("own error"), ValueError),
    (_send("validation"), pydantic.ValidationError),
    (_send("unique"), DuplicateKeyError),
    (_send("check"), ConstraintViolationError),
    (store_a_row_that_is_not_unique, DuplicateKeyError),
    (store_a_number_that_is_too_large, ValidationError),
    (read_an_invalid_row, SerializationError),
    (relay_to_a_failing_broker, None),
    (project_by_a_failing_handler, None),
    (decode_an_invalid_value, EventApplicationError),
    (decode_an_invalid_value_of_a_personal_key, EventApplicationError),
    (load_an_unreadable_snapshot, None),
    (merge_two_changes_of_one_field, MergeConflictError),
    (append_a_version_that_is_taken, OptimisticConcurrencyError),
]
"""Failing calls, with the errors that they raise."""


@pytest.mark.parametrize(
    ("fail", "kind"), FAILURES, ids=lambda each: getattr(each, "__name__", "none")
)
async def test_no_value_of_a_message_is_logged_or_stored_with_an_error(
    world: World, fail: Fail, kind: type[Exception] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        failure = await _catch(fail(world))
    assert type(failure) is (kind or type(None))
    # A server may log the errors of the toolkit; an application answers for the texts of its own.
    if failure is not None and type(failure).__module__.startswith("cqrs_ddd"):
        shown = "".join(traceback.format_exception(failure))
        assert MARKER not in shown, shown
    assert MARKER not in caplog.text, caplog.text
    for name, text in await _read_stored_errors(world):
        assert MARKER not in text, f"{name}: {text}"


async def _catch(failing: Awaitable[object]) -> Exception | None:
    try:
        await failing
    except Exception as error:
        return error
    return None


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
