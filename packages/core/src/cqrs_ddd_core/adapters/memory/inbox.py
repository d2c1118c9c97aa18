"""In-memory inbox with transactions."""

import asyncio
from dataclasses import replace

from pydantic_core import from_json

from ...ports import IInbox, InboxEntry, UnitOfWork
from ...primitives.copying import copy_mutable
from ...primitives.exceptions import InboxError
from ...spi import tenancy
from ...spi.json_fidelity import encode_json
from .transaction import ChangeSet, InMemoryTransaction, join_transaction

Place = tuple[str, str, str]
"""Tenant, consumer and message id."""


class InMemoryInbox(IInbox):
    """In-memory inbox.

    ``register`` waits while an open transaction has recorded the same message, as an insert into a
    unique index does.
    """

    def __init__(self) -> None:
        self._entries: dict[Place, InboxEntry] = {}
        self._open: dict[Place, asyncio.Future[None]] = {}

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        """Record a message and return None, or return its entry; wait for an open recording."""
        entry = InboxEntry(consumer, message_id, fingerprint)
        place = tenancy.get_row_tenant("register a message"), consumer, message_id
        async with join_transaction(uow, "register a message", writes=True) as active:
            changes = self._get_changes(active)
            while place in self._open and place not in changes.entries:
                await asyncio.wait({self._open[place]})
            known = changes.entries.get(place) or self._entries.get(place)
            if known is None:
                self._open[place] = asyncio.get_running_loop().create_future()
                changes.entries[place] = entry
                return None
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
            known = changes.entries.get(place) or self._entries.get(place)
            if known is None:
                raise InboxError.not_registered(consumer, message_id)
            changes.entries[place] = replace(known, outcome=from_json(encoded))

    def _get_changes(self, uow: InMemoryTransaction) -> "_Changes":
        return uow.change_set(self, lambda: _Changes(self._entries, self._open))


class _Changes(ChangeSet):
    """Messages registered by one unit of work."""

    def __init__(
        self, committed: dict[Place, InboxEntry], open_: dict[Place, asyncio.Future[None]]
    ) -> None:
        self._committed = committed
        self._open = open_
        self.entries: dict[Place, InboxEntry] = {}

    def apply(self) -> None:
        self._committed.update(self.entries)
        self._wake()

    def discard(self) -> None:
        self._wake()

    def _wake(self) -> None:
        for place in self.entries:
            waiting = self._open.pop(place, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        self.entries.clear()
