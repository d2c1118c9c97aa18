"""Service that sends the heartbeats of the other services of a process."""

import asyncio
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from ..adapters.memory.heartbeats import InMemoryHeartbeatStore
from ..ports import Heartbeat, IBackend, IHeartbeatStore
from ..primitives import background_service, id_generator
from ..spi.system_clock import SystemClock

NAME = "heartbeats"
"""Name of the sender among the services."""
INTERVAL = 5.0
"""Seconds between two heartbeats of a service."""
_RETENTION = 86400.0
"""Seconds for which the last heartbeats of a killed process are kept."""


def get_store(backend: IBackend) -> IHeartbeatStore:
    """Return the heartbeats of the backend, on the connections for background work."""
    return backend.background.part(IHeartbeatStore, InMemoryHeartbeatStore)


class HeartbeatSender(background_service.BackgroundService):
    """Sender of the heartbeats of each service in this process, and of its own.

    Its heartbeats have a new instance id after each start, and are deleted when it stops.

    Args:
        store: store of the heartbeats.
        services: services by name; the sender can be one of them.
        interval: seconds between two heartbeats of a service.

    Attributes:
        instance_id: id of the present or last run in the heartbeats; None before the first.
    """

    instance_id: str | None = None

    def __init__(
        self,
        store: IHeartbeatStore,
        services: Mapping[str, background_service.BackgroundService],
        *,
        interval: float = INTERVAL,
    ) -> None:
        super().__init__()
        self._store = store
        self._services = services
        self._interval = interval

    def create_loops(self) -> background_service.Loops:
        """Return the loop that sends the heartbeats."""
        self.instance_id = id_generator.uuid4_text()
        return (partial(self._send, self.instance_id, SystemClock().now()),)

    async def _send(self, instance_id: str, started_at: datetime) -> None:
        await self._store.purge(_RETENTION)
        while not self.is_stopping:
            create = partial(self._create_heartbeat, instance_id, started_at)
            await self._store.beat([create(name) for name in self._services])
            await self.wait(asyncio.sleep(self._interval))
        await self._store.remove(instance_id)

    def _create_heartbeat(self, instance_id: str, started_at: datetime, service: str) -> Heartbeat:
        status = self._services[service].status
        return Heartbeat(
            service=service,
            instance_id=instance_id,
            host=f"{socket.gethostname()} (pid {os.getpid()})",
            state=status.state.value,
            started_at=started_at,
            restarts=status.restarts,
            error_type=None if status.error is None else type(status.error).__name__,
        )
