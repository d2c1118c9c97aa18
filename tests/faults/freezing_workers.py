"""Projection worker that is frozen in the middle of a batch and wakes up too late."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import ClassVar

from sqlalchemy.ext.asyncio import create_async_engine

from cqrs_ddd_advanced_core.ports.positions import Checkpoint
from cqrs_ddd_advanced_core.projections import ProjectionDocuments
from cqrs_ddd_core import DomainEvent, UnitOfWork
from cqrs_ddd_persistence_sqlalchemy import configure_sqlite
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyPositionStore
from tests.advanced.till_domain import Tills
from tests.faults.crashing import Place
from tests.faults.naive_positions import Kind
from tests.faults.projecting import BATCH, LEASE
from tests.faults.selling import POISON, create_environment

FROZEN = "frozen"
LOG = "one.log"


class FreezingTills(Tills):
    """Projection that freezes between the read and the write of the documents of a batch."""

    name: ClassVar[str] = "Tills"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _add(self, event: DomainEvent, cents: int, documents: ProjectionDocuments) -> None:
        super()._add(event, cents, documents)
        if cents == POISON:
            freeze_once(self._folder)


class FreezingPositionStore(SQLAlchemyPositionStore):
    """Position store that freezes between the change of the checkpoint and the commit."""

    folder: Path

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        advanced = await super().advance(checkpoint, position, lease=lease, uow=uow)
        freeze_once(self.folder)
        return advanced


def freeze_once(folder: Path) -> None:
    if not (folder / FROZEN).exists():
        (folder / FROZEN).touch()
        os.kill(os.getpid(), signal.SIGSTOP)


async def follow(place: Place, kind: Kind, patience: float | None) -> None:
    """Run a worker; PostgreSQL ends its idle transactions after ``patience`` seconds."""
    logging.basicConfig(filename=place.folder / LOG)
    settings = {"idle_in_transaction_session_timeout": str(int((patience or 0) * 1000))}
    is_file = place.schema is None
    engine = create_async_engine(
        place.url, connect_args={} if is_file else {"server_settings": settings}
    )
    if is_file:
        configure_sqlite(engine)
    environment = create_environment(place, engine, kind)
    if isinstance(environment.positions, FreezingPositionStore):
        environment.positions.folder = place.folder
    handler = Tills() if patience else FreezingTills(place.folder)
    async with environment.worker(handler, worker_id="one", lease=LEASE, batch=BATCH):
        await asyncio.Event().wait()


def run_follow(place: Place, kind: Kind, patience: float | None) -> None:
    asyncio.run(follow(place, kind, patience))
