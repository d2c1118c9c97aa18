"""In-memory store of heartbeats."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from ...ports import Heartbeat, IClock, IHeartbeatStore, StoredHeartbeat
from ...spi.system_clock import SystemClock


class InMemoryHeartbeatStore(IHeartbeatStore):
    """In-memory store of heartbeats, visible to the tasks of one process.

    Args:
        clock: measures times and ages; the system clock by default.
    """

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._heartbeats: dict[tuple[str, str], tuple[Heartbeat, datetime]] = {}

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Store heartbeats with the time of the clock."""
        await asyncio.sleep(0)
        now = self._clock.now()
        for each in heartbeats:
            self._heartbeats[each.service, each.instance_id] = each, now

    async def list_heartbeats(self) -> list[StoredHeartbeat]:
        """Return the last heartbeats, by service and instance."""
        await asyncio.sleep(0)
        return [
            StoredHeartbeat(**vars(each), beat_at=beat_at, age_seconds=self._get_age(beat_at))
            for _, (each, beat_at) in sorted(self._heartbeats.items())
        ]

    async def remove(self, instance_id: str) -> None:
        """Delete the heartbeats of a process; do nothing if it has none."""
        await asyncio.sleep(0)
        self._delete([key for key in self._heartbeats if key[1] == instance_id])

    async def purge(self, min_age: float) -> int:
        """Delete the heartbeats that are at least ``min_age`` seconds old; return their number."""
        await asyncio.sleep(0)
        heartbeats = self._heartbeats.items()
        old = [key for key, (_, beat_at) in heartbeats if self._get_age(beat_at) >= min_age]
        self._delete(old)
        return len(old)

    def _get_age(self, beat_at: datetime) -> float:
        return (self._clock.now() - beat_at).total_seconds()

    def _delete(self, keys: Sequence[tuple[str, str]]) -> None:
        for key in keys:
            del self._heartbeats[key]
