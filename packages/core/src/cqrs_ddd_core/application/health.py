"""Health of an application: readiness, services, backlog and lag."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import to_jsonable_python

from ..context import system_tenant
from ..ports import IBackend, OutboxBacklog, StoredHeartbeat
from ..primitives import exceptions
from ..primitives.background_service import BackgroundService, ServiceState, ServiceStatus
from ..spi.system_clock import SystemClock
from . import heartbeats
from .services import ILag, IPositionWaiter

logger = logging.getLogger(__name__)

_MAX_AGE = 3 * heartbeats.INTERVAL
"""Seconds after which a process without a new heartbeat counts as dead."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """Health of an application at one moment.

    Attributes:
        checked_at: time (aware) of the check, by the clock of this host.
        is_ready: whether the application is open and its backend answers, so that it can handle
            messages.
        services: status of each service in this process.
        dead_services: names of the services that run in no process, sorted; without an answer of
            the backend, those that do not run in this process.
        heartbeats: last heartbeat of each service in each process.
        backlog: messages of the outbox that are not published, or None without an answer.
        lag: lag of each projection behind the event store, by name.
        error_type: name of the class of the error if the backend does not answer; heartbeats,
            backlog and lag are empty then.
    """

    checked_at: datetime
    is_ready: bool
    services: Mapping[str, ServiceStatus]
    dead_services: Sequence[str]
    heartbeats: Sequence[StoredHeartbeat] = ()
    backlog: OutboxBacklog | None = None
    lag: Mapping[str, ILag] = field(default_factory=dict)
    error_type: str | None = None

    @property
    def oldest_message_seconds(self) -> float:
        """Age of the oldest message that waits in the outbox; 0 without one."""
        if self.backlog is None or self.backlog.oldest_at is None:
            return 0.0
        return max(0.0, (self.checked_at - self.backlog.oldest_at).total_seconds())

    def to_json(self) -> dict[str, Any]:
        """Return the health as JSON values, with names of errors and without their text."""
        values: dict[str, Any] = to_jsonable_python(
            self, fallback=lambda error: type(error).__name__
        )
        return {**values, "oldest_message_seconds": self.oldest_message_seconds}


async def check_health(
    backend: IBackend,
    services: Mapping[str, BackgroundService],
    waiters: Sequence[IPositionWaiter],
    *,
    is_open: bool,
    timeout: float,
) -> Health:
    """Return the health of an application.

    Args:
        backend: backend of the application.
        services: services of this process, by name.
        waiters: services that have a lag.
        is_open: whether the application is open.
        timeout: seconds to wait for the backend.
    """
    answer = await _get_answer(asyncio.ensure_future(_ask(backend, waiters)), timeout)
    statuses = {name: each.status for name, each in services.items()}
    running = {name for name, each in statuses.items() if each.state is ServiceState.RUNNING}
    sender = services.get(heartbeats.NAME)
    own = sender.instance_id if isinstance(sender, heartbeats.HeartbeatSender) else None
    for each in answer.heartbeats:
        is_recent = each.age_seconds <= _MAX_AGE and each.instance_id != own
        if is_recent and each.state == ServiceState.RUNNING.value:
            running.add(each.service)
    return Health(
        checked_at=SystemClock().now(),
        is_ready=is_open and answer.error_type is None,
        services=statuses,
        dead_services=sorted(statuses.keys() - running),
        heartbeats=answer.heartbeats,
        backlog=answer.backlog,
        lag=answer.lag,
        error_type=answer.error_type,
    )


@dataclass(frozen=True)
class _Answer:
    """Answer of the backend, or the class of the error instead."""

    heartbeats: Sequence[StoredHeartbeat] = ()
    backlog: OutboxBacklog | None = None
    lag: Mapping[str, ILag] = field(default_factory=dict)
    error_type: str | None = None


async def _ask(backend: IBackend, waiters: Sequence[IPositionWaiter]) -> _Answer:
    lag: dict[str, ILag] = {}
    with system_tenant():
        for waiter in waiters:
            lag.update(await waiter.measure_lag())
        return _Answer(
            await heartbeats.get_store(backend).list_heartbeats(),
            await backend.background.outbox.get_backlog(),
            lag,
        )


async def _get_answer(asking: asyncio.Task[_Answer], timeout: float) -> _Answer:
    """Wait for the answer, but not for the end of a cancelled task, which a frozen server delays.

    A ``CancelledError`` of the task counts as an error.
    """
    try:
        await asyncio.wait({asking}, timeout=timeout)
    finally:
        asking.cancel()
    if not asking.done():
        # Nothing awaits the task any more, so nothing else would retrieve its error.
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return _Answer(error_type=asyncio.TimeoutError.__name__)
    if asking.cancelled():
        return _Answer(error_type=asyncio.CancelledError.__name__)
    error = asking.exception()
    if error is None:
        return asking.result()
    text = "the backend does not answer the health check"
    if exceptions.is_outage(error):
        logger.warning("%s: %s", text, exceptions.describe_error(error))
    else:
        logger.warning(text, exc_info=exceptions.ConcealedError(error))
    return _Answer(error_type=type(error).__name__)
