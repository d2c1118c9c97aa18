"""In-memory outbox with transactions and leases."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, count, islice
from typing import Any

from pydantic_core import from_json

from ...ports import IClock, ILeasedOutbox, OutboxBacklog, OutboxLease, OutboxMessage, UnitOfWork
from ...primitives.copying import copy_mutable
from ...primitives.exceptions import LeaseLostError, OutboxError
from ...spi import checks, json_fidelity, system_clock
from .transaction import ChangeSet, InMemoryTransaction, join_transaction


@dataclass
class _Key:
    """Unpublished messages of one partition, in order, and the lease to publish them."""

    waiting: dict[str, OutboxMessage] = field(default_factory=dict)
    # All keys share one counter, so that an old lease never fits a later key of the same name.
    epoch: int = 0
    leased_until: float = 0.0
    due: datetime | None = None
    is_dead_letter: bool = False

    @property
    def head(self) -> OutboxMessage:
        return next(iter(self.waiting.values()))


class InMemoryOutboxStorage(ILeasedOutbox):
    """In-memory outbox; leases start and end at once, outside of any transaction.

    Args:
        clock: measures leases and retry times; the system clock by default.
    """

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or system_clock.SystemClock()
        # In the order of their oldest waiting message.
        self._keys: dict[str, _Key] = {}
        self._messages: dict[str, OutboxMessage] = {}
        self._waiting: dict[str, OutboxMessage] = {}
        self._epochs = count(1)

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        """Save copies of the messages; relays see them after the commit.

        Raises:
            OutboxError: the outbox already has a message with the same id.
            SerializationError: payload or metadata cannot be written as JSON.
        """
        saved = [_convert_to_json(message) for message in messages]
        async with join_transaction(uow, "save messages", writes=True) as active:
            self._get_changes(active).save(saved)

    async def get_pending(
        self, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[OutboxMessage]:
        """Return unpublished messages, with the messages of the unit of work."""
        async with join_transaction(uow, "read pending messages") as active:
            own = self._get_changes(active)
            pending = (
                copy_message(message)
                for message in chain(self._waiting.values(), own.saved)
                if message.message_id not in own.published and not self._is_dead_letter(message)
            )
            return list(islice(pending, limit))

    async def mark_published(self, message_ids: list[str], uow: UnitOfWork | None = None) -> None:
        """Mark messages as published at the commit."""
        async with join_transaction(uow, "mark messages as published", writes=True) as active:
            changes = self._get_changes(active)
            changes.published.update(message_ids)
            changes.add_step(lambda: self._publish(message_ids))

    async def mark_failed(self, message_id: str, error: str, uow: UnitOfWork | None = None) -> None:
        """Count a failed try at the commit, and store its error."""
        async with join_transaction(uow, "mark a message as failed", writes=True) as active:
            self._get_changes(active).add_step(lambda: self._count_try(message_id, error))

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        """Lease keys that no lease, retry time or dead letter blocks; return the leases."""
        checks.ensure_usable_claim(limit, lease)
        await asyncio.sleep(0)
        return self._claim(limit, lease)

    async def complete(self, lease: OutboxLease, message_ids: Sequence[str]) -> None:
        """Mark messages of a lease as published, outside of any transaction."""
        await asyncio.sleep(0)
        self._get_leased_key(lease)
        self._publish(message_ids)

    async def complete_batch(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        """Mark the messages of several leases and release their keys; return the lost leases."""
        await asyncio.sleep(0)
        return self._complete(published)

    async def complete_and_claim(
        self,
        published: Sequence[tuple[OutboxLease, Sequence[str]]],
        relay_id: str,
        *,
        limit: int = 100,
        lease: float = 30.0,
    ) -> tuple[list[OutboxLease], list[OutboxLease]]:
        """Mark and release several leases, then claim; return the lost and the new leases."""
        checks.ensure_usable_claim(limit, lease)
        await asyncio.sleep(0)
        return self._complete(published), self._claim(limit, lease)

    async def fail(
        self, lease: OutboxLease, message_id: str, error: str, *, retry_at: datetime | None
    ) -> None:
        """Block the key until ``retry_at``, or make the message a dead letter."""
        await asyncio.sleep(0)
        key = self._get_leased_key(lease)
        self._count_try(message_id, error)
        key.due = retry_at
        key.is_dead_letter = retry_at is None
        key.leased_until = 0.0

    async def release(self, lease: OutboxLease) -> None:
        """Release the key at once; do nothing if the lease was lost."""
        await asyncio.sleep(0)
        self._release(lease)

    async def get_backlog(self) -> OutboxBacklog:
        """Count the committed messages that are not published."""
        await asyncio.sleep(0)
        keys = self._keys.values()
        dead_letters = {key.head.message_id for key in keys if key.is_dead_letter}
        blocked = sum(len(key.waiting) for key in keys if self._is_blocked(key))
        return OutboxBacklog(
            waiting=len(self._waiting) - blocked,
            blocked=blocked - len(dead_letters),
            dead_letters=len(dead_letters),
            oldest_at=min(
                (m.created_at for i, m in self._waiting.items() if i not in dead_letters),
                default=None,
            ),
        )

    async def list_dead_letters(self, limit: int = 100) -> list[OutboxMessage]:
        """Return copies of the dead letters, the oldest first."""
        await asyncio.sleep(0)
        return [copy_message(key.head) for key in self._keys.values() if key.is_dead_letter][:limit]

    async def retry(self, message_id: str) -> None:
        """Retry a dead letter, with its number of tries reset."""
        await asyncio.sleep(0)
        key = self._get_dead_letter_key(message_id)
        self._update(key.head, retry_count=0)
        key.is_dead_letter, key.due = False, None

    async def discard(self, message_id: str) -> None:
        """Delete a dead letter, which unblocks its key."""
        await asyncio.sleep(0)
        key = self._get_dead_letter_key(message_id)
        key.is_dead_letter, key.due = False, None
        self._drop(self._messages.pop(message_id))

    async def purge(self, published_before: datetime, *, limit: int = 1000) -> int:
        """Delete at most ``limit`` messages that were published before a time; return how many."""
        await asyncio.sleep(0)
        old = [
            message.message_id
            for message in self._messages.values()
            if message.published_at is not None and message.published_at < published_before
        ][:limit]
        for message_id in old:
            del self._messages[message_id]
        return len(old)

    def _get_changes(self, uow: InMemoryTransaction) -> "_Changes":
        return uow.change_set(self, lambda: _Changes(self))

    def _claim(self, limit: int, lease: float) -> list[OutboxLease]:
        leases: list[OutboxLease] = []
        for name, key in self._keys.items():
            if limit == 0:
                break
            if not self._is_due(key):
                continue
            key.epoch = next(self._epochs)
            key.leased_until = self._clock.monotonic() + lease
            messages = [copy_message(message) for message in islice(key.waiting.values(), limit)]
            limit -= len(messages)
            leases.append(OutboxLease(name, key.epoch, messages))
        return leases

    def _complete(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        """Mark the messages and release the keys; return the lost leases."""
        lost = [lease for lease, _ in published if not self._is_held(lease)]
        for lease, message_ids in published:
            if lease not in lost:
                self._publish(message_ids)
                self._release(lease)
        return lost

    def _add(self, message: OutboxMessage) -> None:
        self._messages[message.message_id] = message
        if message.published_at is None:
            self._waiting[message.message_id] = message
            key = self._keys.setdefault(message.lease_key, _Key())
            key.waiting[message.message_id] = message

    def _is_due(self, key: _Key) -> bool:
        is_leased = key.leased_until > self._clock.monotonic()
        return not (is_leased or self._is_blocked(key))

    def _is_blocked(self, key: _Key) -> bool:
        return key.is_dead_letter or (key.due is not None and key.due > self._clock.now())

    def _is_dead_letter(self, message: OutboxMessage) -> bool:
        key = self._keys.get(message.lease_key)
        return key is not None and key.is_dead_letter

    def _release(self, lease: OutboxLease) -> None:
        key = self._keys.get(lease.key)
        if key is not None and key.epoch == lease.epoch:
            key.leased_until = 0.0

    def _is_held(self, lease: OutboxLease) -> bool:
        key = self._keys.get(lease.key)
        is_ours = key is not None and key.epoch == lease.epoch
        return is_ours and key is not None and key.leased_until > self._clock.monotonic()

    def _get_leased_key(self, lease: OutboxLease) -> _Key:
        if not self._is_held(lease):
            raise LeaseLostError.lease_ended("outbox key", lease.key, lease.epoch)
        return self._keys[lease.key]

    def _get_dead_letter_key(self, message_id: str) -> _Key:
        for key in self._keys.values():
            if key.is_dead_letter and key.head.message_id == message_id:
                return key
        raise OutboxError.not_dead_lettered(message_id)

    def _publish(self, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            message = self._messages.get(message_id)
            if message is not None and message.published_at is None:
                key = self._keys[message.lease_key]
                if key.head is message:
                    key.is_dead_letter = False
                self._drop(message)
                self._update(message, published_at=self._clock.now(), error=None)

    def _drop(self, message: OutboxMessage) -> None:
        name = message.lease_key
        self._waiting.pop(message.message_id)
        key = self._keys[name]
        del key.waiting[message.message_id]
        if not key.waiting:
            del self._keys[name]

    def _count_try(self, message_id: str, error: str) -> None:
        message = self._messages.get(message_id)
        if message is not None:
            self._update(message, retry_count=message.retry_count + 1, error=error)

    def _update(self, message: OutboxMessage, **changes: Any) -> None:
        """Replace the message wherever it is kept, at its place in the order."""
        changed = replace(message, **changes)
        key = self._keys.get(message.lease_key)
        for kept in (self._messages, self._waiting, key.waiting if key else {}):
            if message.message_id in kept:
                kept[message.message_id] = changed


def copy_message(message: OutboxMessage) -> OutboxMessage:
    """Return an equal message with its own payload and metadata."""
    return replace(
        message,
        payload=copy_mutable(message.payload),
        metadata=copy_mutable(message.metadata),
    )


def _convert_to_json(message: OutboxMessage) -> OutboxMessage:
    """Return the message as readers see it, with payload and metadata decoded from JSON."""
    encoded = json_fidelity.encode_json(
        [message.payload, message.metadata],
        f"message {message.message_id}",
        type_name=message.event_type,
    )
    payload, metadata = from_json(encoded)
    return replace(message, payload=payload, metadata=metadata)


class _Changes(ChangeSet):
    """Changes of one unit of work to the outbox."""

    def __init__(self, outbox: InMemoryOutboxStorage) -> None:
        self._outbox = outbox
        self.saved: list[OutboxMessage] = []
        self.published: set[str] = set()
        self._steps: list[Callable[[], None]] = []

    def save(self, messages: Sequence[OutboxMessage]) -> None:
        ids = [message.message_id for message in (*self.saved, *messages)]
        if len(set(ids)) < len(ids):
            raise OutboxError.already_saved(next(i for i in ids if ids.count(i) > 1))
        self.saved += messages

    def add_step(self, step: Callable[[], None]) -> None:
        self._steps.append(step)

    def check(self) -> None:
        for message in self.saved:
            if message.message_id in self._outbox._messages:
                raise OutboxError.already_saved(message.message_id)

    def apply(self) -> None:
        for message in self.saved:
            self._outbox._add(message)
        for step in self._steps:
            step()
