"""In-memory inbox with transactions."""

import asyncio
from dataclasses import replace
from datetime import datetime

from pydantic_core import from_json

from ...ports import IClock, IInbox, InboxEntry, UnitOfWork
from ...primitives.copying import copy_mutable
from ...primitives.exceptions import InvalidOperationError
from ...spi import tenancy
from ...spi.json_fidelity import encode_json
from ...spi.system_clock import SystemClock
from .transaction import ChangeSet, InMemoryTransaction, join_transaction

Place = tuple[str, str, str]
"""Tenant, consumer and message id."""
Row = tuple[InboxEntry, datetime]
"""Entry, with the time of its registration."""


class InMemoryInbox(IInbox):
    """In-memory inbox.

    ``register`` waits while an open transaction has recorded the same message, as an insert into a
    unique index does.

    Args:
        clock: source of the times of registration; the system clock by default.
    """

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._rows: dict[Place, Row] = {}
        self._open: dict[Place, asyncio.Future[None]] = {}

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        """Record a message and return None, or return its entry; wait for an open recording."""
        entry = InboxEntry(consumer, message_id, fingerprint)
        place = tenancy.get_row_tenant("register a message"), consumer, message_id
        async with join_transaction(uow, "register a message", writes=True) as active:
            changes = self._get_changes(active)
            while place in self._open and place not in changes.rows:
                await asyncio.wait({self._open[place]})
            row = changes.rows.get(place) or self._rows.get(place)
            if row is None:
                self._open[place] = asyncio.get_running_loop().create_future()
                changes.rows[place] = entry, self._clock.now()
                return None
            known, _ = row
            known.ensure_same_content(fingerprint)
            return replace(known, outcome=copy_mutable(known.outcome))

    async def store_outcome(
        self, consumer: str, message_id: str, outcome: object, uow: UnitOfWork | None = None
    ) -> None:
        """Store the outcome as JSON, in the transaction of the effects."""
        place = tenancy.get_row_tenant("store an outcome"), consumer, message_id
        encoded = encode_json(
            outcome, f"the outcome of message {message_id}", type_name=type(outcome).__name__
        )
        async with join_transaction(uow, "store an outcome", writes=True) as active:
            changes = self._get_changes(active)
            row = changes.rows.get(place) or self._rows.get(place)
            if row is None:
                raise InvalidOperationError.not_in_inbox(consumer, message_id)
            known, registered_at = row
            changes.rows[place] = replace(known, outcome=from_json(encoded)), registered_at

    async def purge(self, registered_before: datetime, *, limit: int = 1000) -> int:
        """Delete at most ``limit`` committed messages registered earlier; return their number."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        old = [
            place
            for place, (_, registered_at) in self._rows.items()
            if tenant_id in (None, place[0]) and registered_at < registered_before
        ][:limit]
        for place in old:
            del self._rows[place]
        return len(old)

    def _get_changes(self, uow: InMemoryTransaction) -> "_Changes":
        return uow.change_set(self, lambda: _Changes(self._rows, self._open))


class _Changes(ChangeSet):
    """Messages registered by one unit of work."""

    def __init__(
        self, committed: dict[Place, Row], open_: dict[Place, asyncio.Future[None]]
    ) -> None:
        self._committed = committed
        self._open = open_
        self.rows: dict[Place, Row] = {}

    def apply(self) -> None:
        self._committed.update(self.rows)
        self._wake()

    def discard(self) -> None:
        self._wake()

    def _wake(self) -> None:
        for place in self.rows:
            waiting = self._open.pop(place, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        self.rows.clear()
