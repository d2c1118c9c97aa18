"""Port of the heartbeats, by which the services of one process are visible to the others."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from ..primitives.exceptions import InvalidOperationError, NaiveDatetimeError
from ..primitives.storable import ensure_storable

__all__ = ["Heartbeat", "IHeartbeatStore", "StoredHeartbeat"]


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """State of one service in one process.

    It contains no text of an error, since that may quote personal data.

    Attributes:
        service: name of the service.
        instance_id: id of the process, unique among all processes and restarts.
        host: label of host and process, for operators.
        state: state of the service, such as ``running``.
        started_at: time (aware) at which the service started, by the clock of its host.
        restarts: number of times that the service was started again after an error.
        error_type: name of the class of the last error, or None.

    Raises:
        SerializationError: an id or a name is a text that some databases change or reject.
        NaiveDatetimeError: ``started_at`` has no time zone.
        InvalidOperationError: ``error_type`` is not the name of a class.
    """

    service: str
    instance_id: str
    host: str
    state: str
    started_at: datetime
    restarts: int = 0
    error_type: str | None = None

    def __post_init__(self) -> None:
        ensure_storable("a heartbeat", self.service, self.instance_id, self.host, self.state)
        if self.started_at.tzinfo is None:
            raise NaiveDatetimeError.without_zone(
                f"started_at of {self.service}", self.started_at, field="started_at"
            )
        if self.error_type is not None and not self.error_type.isidentifier():
            raise InvalidOperationError(
                f"the error_type of a heartbeat of {self.service} is not the name of a class; pass "
                "type(error).__name__, without the text of the error"
            )


@dataclass(frozen=True, kw_only=True)
class StoredHeartbeat(Heartbeat):
    """Last heartbeat of a service in a process.

    Attributes:
        beat_at: time (aware) of the heartbeat, by the clock of the store.
        age_seconds: seconds from the heartbeat to the read, by the same clock.
    """

    beat_at: datetime
    age_seconds: float


@runtime_checkable
class IHeartbeatStore(Protocol):
    """Store of the last heartbeat of each service in each process.

    The store measures times and ages by its own clock, since the clocks of the hosts differ. Calls
    take effect at once, in any unit of work.
    """

    @abstractmethod
    async def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Store heartbeats, each in place of the last one of its service and its instance."""
        ...

    @abstractmethod
    async def list_heartbeats(self) -> list[StoredHeartbeat]:
        """Return the last heartbeats, by service and instance."""
        ...

    @abstractmethod
    async def remove(self, instance_id: str) -> None:
        """Delete the heartbeats of a process that stops; do nothing if it has none."""
        ...

    @abstractmethod
    async def purge(self, min_age: float) -> int:
        """Delete the heartbeats that are at least ``min_age`` seconds old; return their number."""
        ...
