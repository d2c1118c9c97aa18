"""In-memory outbox with transactions and leases."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, count, islice
from typing import Any

from pydantic_core import from_json

from ...ports import IClock, ILeasedOutbox, OutboxBacklog, OutboxLease, OutboxMessage, UnitOfWork
from ...primitives.copying import copy_mutable
from ...primitives.exceptions import InvalidOperationError, LeaseLostError
from ...spi import checks, json_fidelity, system_clock, tenancy
from .transaction import ChangeSet, InMemoryTransaction, join_transaction

Place = tuple[str, str]
"""Tenant with a message id or a lease key."""


@dataclass
class _Key:
    """Unpublished messages of one partition, in order, and the lease to publish them."""

    waiting: dict[Place, OutboxMessage] = field(default_factory=dict)
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
        self._keys: dict[Place, _Key] = {}
        self._messages: dict[Place, OutboxMessage] = {}
        self._waiting: dict[Place, OutboxMessage] = {}
        self._epochs = count(1)

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        """Save copies of the messages; relays see them after the commit.

        Raises:
            InvalidOperationError: the outbox already has a message with the same id.
            SerializationError: payload or metadata cannot be written as JSON.
        """
        tenant_id = tenancy.get_row_tenant("save messages")
        saved = [_convert_to_json(message, tenant_id) for message in messages]
        async with join_transaction(uow, "save messages", writes=True) as active:
            self._get_changes(active).save(saved)

    async def get_pending(
        self, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[OutboxMessage]:
        """Return unpublished messages, with the messages of the unit of work."""
        tenant_id = tenancy.get_visible_tenant()
        async with join_transaction(uow, "read pending messages") as active:
            own = self._get_changes(active)
            pending = (
                copy_message(message)
                for message in chain(self._waiting.values(), own.saved)
                if tenant_id in (None, _tenant_of(message))
                and _place_of(message) not in own.published
                and not self._is_dead_letter(message)
            )
            return list(islice(pending, limit))

    async def mark_published(self, message_ids: list[str], uow: UnitOfWork | None = None) -> None:
        """Mark messages as published at the commit."""
        tenant_id = tenancy.get_row_tenant("mark messages as published")
        places = [(tenant_id, message_id) for message_id in message_ids]
        async with join_transaction(uow, "mark messages as published", writes=True) as active:
            changes = self._get_changes(active)
            changes.published.update(places)
            changes.add_step(lambda: self._publish(places))

    async def mark_failed(self, message_id: str, error: str, uow: UnitOfWork | None = None) -> None:
        """Count a failed try at the commit, and store its error."""
        place = tenancy.get_row_tenant("mark a message as failed"), message_id
        async with join_transaction(uow, "mark a message as failed", writes=True) as active:
            self._get_changes(active).add_step(lambda: self._count_try(place, error))

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        """Lease keys that no lease, retry time or dead letter blocks; return the leases."""
        checks.ensure_usable_claim(limit, lease)
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        return self._claim(limit, lease, tenant_id)

    async def complete(self, lease: OutboxLease, message_ids: Sequence[str]) -> None:
        """Mark messages of a lease as published, outside of any transaction."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        self._get_leased_key(lease, tenant_id)
        self._publish([(lease.tenant_id, message_id) for message_id in message_ids])

    async def complete_batch(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        """Mark the messages of several leases and release their keys; return the lost leases."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        return self._complete(published, tenant_id)

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
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        lost = self._complete(published, tenant_id)
        return lost, self._claim(limit, lease, tenant_id)

    async def fail(
        self, lease: OutboxLease, message_id: str, error: str, *, retry_at: datetime | None
    ) -> None:
        """Block the key until ``retry_at``, or make the message a dead letter."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        key = self._get_leased_key(lease, tenant_id)
        self._count_try((lease.tenant_id, message_id), error)
        key.due = retry_at
        key.is_dead_letter = retry_at is None
        key.leased_until = 0.0

    async def release(self, lease: OutboxLease, *, retry_at: datetime | None = None) -> None:
        """Release the key, or block it until ``retry_at``; do nothing if the lease was lost."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        if tenant_id in (None, lease.tenant_id):
            self._release(lease, retry_at)

    async def get_backlog(self) -> OutboxBacklog:
        """Count the committed messages that are not published."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        keys = [key for _, key in self._list_keys(tenant_id)]
        waiting = [message for key in keys for message in key.waiting.values()]
        dead_letters = [key.head for key in keys if key.is_dead_letter]
        blocked = sum(len(key.waiting) for key in keys if self._is_blocked(key))
        times = (each.created_at for each in waiting if each not in dead_letters)
        return OutboxBacklog(
            waiting=len(waiting) - blocked,
            blocked=blocked - len(dead_letters),
            dead_letters=len(dead_letters),
            oldest_at=min(times, default=None),
        )

    async def list_dead_letters(self, limit: int = 100) -> list[OutboxMessage]:
        """Return copies of the dead letters, the oldest first."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        found = (key.head for _, key in self._list_keys(tenant_id) if key.is_dead_letter)
        return [copy_message(message) for message in islice(found, limit)]

    async def retry(self, message_id: str) -> None:
        """Retry a dead letter, with its number of tries reset."""
        place = tenancy.get_row_tenant("retry a message"), message_id
        await asyncio.sleep(0)
        key = self._get_dead_letter_key(place)
        self._update(place, key.head, retry_count=0)
        key.is_dead_letter, key.due = False, None

    async def discard(self, message_id: str) -> None:
        """Delete a dead letter, which unblocks its key."""
        place = tenancy.get_row_tenant("discard a message"), message_id
        await asyncio.sleep(0)
        key = self._get_dead_letter_key(place)
        key.is_dead_letter, key.due = False, None
        self._drop(place, self._messages.pop(place))

    async def purge(self, published_before: datetime, *, limit: int = 1000) -> int:
        """Delete at most ``limit`` messages that were published before a time; return how many."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        old = [
            place
            for place, message in self._messages.items()
            if tenant_id in (None, place[0])
            and message.published_at is not None
            and message.published_at < published_before
        ][:limit]
        for place in old:
            del self._messages[place]
        return len(old)

    def _get_changes(self, uow: InMemoryTransaction) -> "_Changes":
        return uow.change_set(self, lambda: _Changes(self))

    def _list_keys(self, tenant_id: str | None) -> Iterator[tuple[Place, _Key]]:
        """Yield the keys of a tenant, or of all tenants for None."""
        return (each for each in self._keys.items() if tenant_id in (None, each[0][0]))

    def _claim(self, limit: int, lease: float, tenant_id: str | None) -> list[OutboxLease]:
        leases: list[OutboxLease] = []
        for (owner, name), key in self._list_keys(tenant_id):
            if limit == 0:
                break
            if not self._is_due(key):
                continue
            key.epoch = next(self._epochs)
            key.leased_until = self._clock.monotonic() + lease
            messages = [copy_message(message) for message in islice(key.waiting.values(), limit)]
            limit -= len(messages)
            leases.append(OutboxLease(name, key.epoch, messages, owner))
        return leases

    def _complete(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]], tenant_id: str | None
    ) -> list[OutboxLease]:
        """Mark the messages and release the keys; return the lost leases."""
        lost = [lease for lease, _ in published if not self._is_held(lease, tenant_id)]
        for lease, message_ids in published:
            if lease not in lost:
                self._publish([(lease.tenant_id, message_id) for message_id in message_ids])
                self._release(lease)
        return lost

    def _add(self, message: OutboxMessage) -> None:
        place = _place_of(message)
        self._messages[place] = message
        if message.published_at is None:
            self._waiting[place] = message
            key = self._keys.setdefault(_key_of(message), _Key())
            key.waiting[place] = message

    def _is_due(self, key: _Key) -> bool:
        is_leased = key.leased_until > self._clock.monotonic()
        return not (is_leased or self._is_blocked(key))

    def _is_blocked(self, key: _Key) -> bool:
        return key.is_dead_letter or (key.due is not None and key.due > self._clock.now())

    def _is_dead_letter(self, message: OutboxMessage) -> bool:
        key = self._keys.get(_key_of(message))
        return key is not None and key.is_dead_letter

    def _release(self, lease: OutboxLease, due: datetime | None = None) -> None:
        key = self._keys.get((lease.tenant_id, lease.key))
        if key is not None and key.epoch == lease.epoch and key.leased_until:
            key.leased_until, key.due = 0.0, due

    def _is_held(self, lease: OutboxLease, tenant_id: str | None) -> bool:
        key = self._keys.get((lease.tenant_id, lease.key))
        if key is None or tenant_id not in (None, lease.tenant_id):
            return False
        return key.epoch == lease.epoch and key.leased_until > self._clock.monotonic()

    def _get_leased_key(self, lease: OutboxLease, tenant_id: str | None) -> _Key:
        if not self._is_held(lease, tenant_id):
            raise LeaseLostError.lease_ended("outbox key", lease.key, lease.epoch)
        return self._keys[lease.tenant_id, lease.key]

    def _get_dead_letter_key(self, place: Place) -> _Key:
        for key in self._keys.values():
            if key.is_dead_letter and _place_of(key.head) == place:
                return key
        raise InvalidOperationError.not_dead_lettered(place[1])

    def _publish(self, places: Sequence[Place]) -> None:
        for place in places:
            message = self._messages.get(place)
            if message is not None and message.published_at is None:
                key = self._keys[place[0], message.lease_key]
                if key.head is message:
                    key.is_dead_letter = False
                self._drop(place, message)
                self._update(place, message, published_at=self._clock.now(), error=None)

    def _drop(self, place: Place, message: OutboxMessage) -> None:
        name = (place[0], message.lease_key)
        self._waiting.pop(place)
        key = self._keys[name]
        del key.waiting[place]
        if not key.waiting:
            del self._keys[name]

    def _count_try(self, place: Place, error: str) -> None:
        message = self._messages.get(place)
        if message is not None:
            self._update(place, message, retry_count=message.retry_count + 1, error=error)

    def _update(self, place: Place, message: OutboxMessage, **changes: Any) -> None:
        """Replace the message wherever it is kept, at its place in the order."""
        changed = replace(message, **changes)
        key = self._keys.get((place[0], message.lease_key))
        for kept in (self._messages, self._waiting, key.waiting if key else {}):
            if place in kept:
                kept[place] = changed


def copy_message(message: OutboxMessage) -> OutboxMessage:
    """Return an equal message with its own payload and metadata."""
    return replace(
        message,
        payload=copy_mutable(message.payload),
        metadata=copy_mutable(message.metadata),
    )


def _tenant_of(message: OutboxMessage) -> str:
    return tenancy.get_metadata_tenant(message.metadata)


def _place_of(message: OutboxMessage) -> Place:
    return _tenant_of(message), message.message_id


def _key_of(message: OutboxMessage) -> Place:
    return _tenant_of(message), message.lease_key


def _convert_to_json(message: OutboxMessage, tenant_id: str) -> OutboxMessage:
    """Return the message as readers see it: decoded from JSON, with its tenant in the metadata."""
    tenancy.ensure_own_metadata(message.metadata, tenant_id, f"message {message.message_id}")
    encoded = json_fidelity.encode_json(
        [message.payload, message.metadata],
        f"message {message.message_id}",
        type_name=message.event_type,
    )
    payload, metadata = from_json(encoded)
    tenancy.set_metadata_tenant(metadata, tenant_id)
    return replace(message, payload=payload, metadata=metadata)


class _Changes(ChangeSet):
    """Changes of one unit of work to the outbox."""

    def __init__(self, outbox: InMemoryOutboxStorage) -> None:
        self._outbox = outbox
        self.saved: list[OutboxMessage] = []
        self.published: set[Place] = set()
        self._steps: list[Callable[[], None]] = []

    def save(self, messages: Sequence[OutboxMessage]) -> None:
        places = [_place_of(message) for message in (*self.saved, *messages)]
        if len(set(places)) < len(places):
            raise InvalidOperationError.already_in_outbox(
                next(i for t, i in places if places.count((t, i)) > 1)
            )
        self.saved += messages

    def add_step(self, step: Callable[[], None]) -> None:
        self._steps.append(step)

    def check(self) -> None:
        for message in self.saved:
            if _place_of(message) in self._outbox._messages:
                raise InvalidOperationError.already_in_outbox(message.message_id)

    def apply(self) -> None:
        for message in self.saved:
            self._outbox._add(message)
        for step in self._steps:
            step()
