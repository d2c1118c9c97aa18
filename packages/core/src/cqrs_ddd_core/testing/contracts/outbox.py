"""Contract of outboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any

from ...ports import ILeasedOutbox, OutboxBacklog, OutboxMessage, UnitOfWork
from ...primitives.exceptions import (
    InvalidOperationError,
    LeaseLostError,
    SerializationError,
)
from ..assertions import EXACT_JSON, UNSTORABLE_IDS, raises
from ..faults import cancel_sweep
from .event_store import AS_STORED, change_in_place, values_of
from .tenancy import OutboxTenancyContract

NewUnitOfWork = Callable[[], UnitOfWork]


class OutboxContract(OutboxTenancyContract):
    """Contract of ``ILeasedOutbox``.

    Fixtures:
        outbox: The outbox under test, empty.
        new_uow: Returns a new unit of work for the outbox.
    """

    async def test_outbox_returns_a_saved_message_complete(self, outbox: ILeasedOutbox) -> None:
        sent = message(
            "k",
            payload={"text": "naïve ☃", "list": [1, None]},
            metadata={"user_id": "u"},
            correlation_id="r",
            causation_id="c",
        )

        await outbox.save_messages([sent])

        assert await outbox.get_pending() == [sent]
        (lease,) = await outbox.claim("relay")
        assert (lease.key, list(lease.messages)) == ("k", [sent])

    async def test_outbox_returns_the_content_of_a_message_as_json_values(
        self, outbox: ILeasedOutbox
    ) -> None:
        await outbox.save_messages([message("k", payload={"tags": ("a", None)})])

        (found,) = await outbox.get_pending()
        assert found.payload == {"tags": ["a", None]}

    async def test_outbox_returns_json_unchanged(self, outbox: ILeasedOutbox) -> None:
        await outbox.save_messages([message("k", payload=EXACT_JSON, metadata=EXACT_JSON)])

        (found,) = await outbox.get_pending()
        assert repr(found.payload) == repr(found.metadata) == repr(EXACT_JSON)

    async def test_change_to_a_message_after_its_save_does_not_reach_the_outbox(
        self, outbox: ILeasedOutbox, new_uow: NewUnitOfWork
    ) -> None:
        saved = message("k", payload={"tags": ["a"]}, metadata={"roles": ["x"]})

        async with new_uow() as uow:
            await outbox.save_messages([saved], uow)
            change_in_place(saved)
            assert values_of(await outbox.get_pending(uow=uow)) == [AS_STORED]
        change_in_place(saved)

        assert values_of(await outbox.get_pending()) == [AS_STORED]

    async def test_change_to_a_message_that_was_read_does_not_reach_the_outbox(
        self, outbox: ILeasedOutbox, new_uow: NewUnitOfWork
    ) -> None:
        saved = message("k", payload={"tags": ["a"]}, metadata={"roles": ["x"]})
        async with new_uow() as uow:
            await outbox.save_messages([saved], uow)
            change_in_place(*await outbox.get_pending(uow=uow))

        change_in_place(*await outbox.get_pending())
        (lease,) = await outbox.claim("relay")
        assert values_of(lease.messages) == [AS_STORED]
        change_in_place(*lease.messages)
        await outbox.fail(lease, saved.message_id, "poison", retry_at=None)
        dead = await outbox.list_dead_letters()
        assert values_of(dead) == [AS_STORED]
        change_in_place(*dead)
        assert values_of(await outbox.list_dead_letters()) == [AS_STORED]

    async def test_outbox_rejects_ids_that_some_databases_cannot_store(
        self, outbox: ILeasedOutbox
    ) -> None:
        for bad in UNSTORABLE_IDS:
            # The constructor of OutboxMessage raises, so such an id never reaches an outbox.
            with raises(SerializationError):
                await outbox.save_messages([message("k"), message("k", message_id=bad)])
            with raises(SerializationError):
                await outbox.save_messages([message("k"), message(bad)])

        assert await outbox.get_pending() == []

    async def test_outbox_message_is_visible_only_after_its_transaction_commits(
        self, outbox: ILeasedOutbox, new_uow: NewUnitOfWork
    ) -> None:
        kept, lost = message("k"), message("k")

        async with new_uow() as uow:
            await outbox.save_messages([kept], uow)
            async with new_uow() as other:
                assert await outbox.get_pending(uow=other) == []
            assert await outbox.claim("relay") == []
        async with new_uow() as uow:
            await outbox.save_messages([lost], uow)
            await uow.rollback()

        assert _ids(await outbox.get_pending()) == _ids([kept])

    async def test_cancelled_unit_of_work_saves_all_outbox_messages_or_none(
        self, outbox: ILeasedOutbox, new_uow: NewUnitOfWork
    ) -> None:
        expected = 0

        async def save() -> None:
            async with new_uow() as uow:
                await outbox.save_messages([message("k")], uow)
                await outbox.save_messages([message("k")], uow)

        async def check() -> None:
            nonlocal expected
            found = len(await outbox.get_pending())
            assert found in (expected, expected + 2)
            expected = found

        assert await cancel_sweep(save, check) > 0
        assert expected >= 2

    async def test_pending_outbox_messages_are_returned_oldest_first(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message(f"k{number % 2}") for number in range(5)]
        for each in sent:
            await outbox.save_messages([each])

        assert _ids(await outbox.get_pending()) == _ids(sent)
        assert _ids(await outbox.get_pending(limit=2)) == _ids(sent[:2])

    async def test_published_outbox_message_is_no_longer_pending(
        self, outbox: ILeasedOutbox, new_uow: NewUnitOfWork
    ) -> None:
        one, two = message("k"), message("k")
        await outbox.save_messages([one, two])

        async with new_uow() as uow:
            await outbox.mark_published([one.message_id], uow)
            await uow.rollback()
        assert len(await outbox.get_pending()) == 2
        await outbox.mark_published([one.message_id])
        await outbox.mark_published([one.message_id])

        assert _ids(await outbox.get_pending()) == _ids([two])

    async def test_failed_outbox_message_keeps_its_error_and_retry_count(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = message("k")
        await outbox.save_messages([sent])

        await outbox.mark_failed(sent.message_id, "no route")
        await outbox.mark_failed(sent.message_id, "still no route")

        (found,) = await outbox.get_pending()
        assert (found.retry_count, found.error) == (2, "still no route")

    async def test_outbox_rejects_a_repeated_message_id(self, outbox: ILeasedOutbox) -> None:
        sent = message("k")
        await outbox.save_messages([sent])

        with raises(InvalidOperationError):
            await outbox.save_messages([message("k"), message("k", message_id=sent.message_id)])
        repeated = message("k")
        with raises(InvalidOperationError):
            await outbox.save_messages([repeated, repeated])

        assert len(await outbox.get_pending()) == 1

    async def test_claim_leases_a_partition_key_to_one_relay_with_its_messages_in_order(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message(key) for key in ("a", "b", "a", "b", "a")]
        await outbox.save_messages(sent)

        leases = await outbox.claim("one")
        others = await outbox.claim("two")

        assert {lease.key: _ids(lease.messages) for lease in leases} == {
            "a": _ids(sent[0::2]),
            "b": _ids(sent[1::2]),
        }
        assert others == []

    async def test_relays_that_claim_concurrently_never_lease_the_same_partition_key(
        self, outbox: ILeasedOutbox
    ) -> None:
        await outbox.save_messages([message(f"k{number}") for number in range(20)])

        claims = await asyncio.gather(*(outbox.claim(f"relay {n}", limit=5) for n in range(6)))

        keys = [lease.key for leases in claims for lease in leases]
        assert sorted(keys) == sorted(set(keys))
        assert len(keys) <= 20

    async def test_outbox_claim_returns_at_most_limit_messages(self, outbox: ILeasedOutbox) -> None:
        await outbox.save_messages([message("a") for _ in range(3)])
        await outbox.save_messages([message("b") for _ in range(3)])

        leases = await outbox.claim("relay", limit=4)

        assert sum(len(lease.messages) for lease in leases) == 4
        with raises(InvalidOperationError):
            await outbox.claim("relay", limit=0)
        with raises(InvalidOperationError):
            await outbox.claim("relay", lease=0.0)

    async def test_messages_without_a_partition_key_do_not_block_each_other(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message(None), message(None)]
        await outbox.save_messages(sent)

        one, two = await outbox.claim("relay")
        await outbox.fail(one, one.messages[0].message_id, "poison", retry_at=None)
        await outbox.complete(two, _ids(two.messages))

        assert _ids(await outbox.list_dead_letters()) == _ids(one.messages)
        assert await outbox.get_pending() == []

    async def test_message_saved_under_a_leased_partition_key_waits_for_its_release(
        self, outbox: ILeasedOutbox
    ) -> None:
        one, two = message("k"), message("k")
        await outbox.save_messages([one])
        (lease,) = await outbox.claim("one")

        await outbox.save_messages([two])
        assert await outbox.claim("two") == []
        await outbox.complete(lease, [one.message_id])
        await outbox.release(lease)

        (next_,) = await outbox.claim("two")
        assert _ids(next_.messages) == _ids([two])

    async def test_completed_outbox_message_is_not_claimed_again(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message("k") for _ in range(3)]
        await outbox.save_messages(sent)
        (lease,) = await outbox.claim("relay")

        await outbox.complete(lease, _ids(sent[:2]))
        await outbox.release(lease)

        (next_,) = await outbox.claim("relay")
        assert _ids(next_.messages) == _ids(sent[2:])
        await outbox.complete(next_, _ids(sent[2:]))
        assert await outbox.get_pending() == []

    async def test_relay_with_a_lost_lease_cannot_complete_or_fail_messages(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = message("k")
        await outbox.save_messages([sent])
        (old,) = await outbox.claim("slow", lease=0.02)
        await asyncio.sleep(0.05)
        with raises(LeaseLostError):
            await outbox.complete(old, [sent.message_id])

        (new,) = await outbox.claim("quick", lease=30)
        with raises(LeaseLostError) as caught:
            await outbox.complete(old, [sent.message_id])
        with raises(LeaseLostError):
            await outbox.fail(old, sent.message_id, "late", retry_at=None)
        await outbox.release(old)

        assert caught.error.resource == "k"
        assert new.epoch > old.epoch
        assert await outbox.claim("third") == []
        await outbox.complete(new, [sent.message_id])
        assert await outbox.get_pending() == []

    async def test_complete_batch_completes_held_leases_and_returns_lost_leases(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message("a"), message("a"), message("b"), message("c")]
        await outbox.save_messages(sent)
        (lost,) = await outbox.claim("slow", limit=1, lease=0.02)
        await asyncio.sleep(0.05)
        held = {lease.key: lease for lease in await outbox.claim("relay")}
        del held["c"]

        lost_leases = await outbox.complete_batch(
            [(lost, [sent[0].message_id])]
            + [(lease, _ids(lease.messages)[:1]) for lease in held.values()]
        )

        assert lost_leases == [lost]
        assert _ids(await outbox.get_pending()) == _ids([sent[1], sent[3]])
        (again,) = await outbox.claim("relay")
        assert _ids(again.messages) == _ids([sent[1]])
        assert await outbox.complete_batch([]) == []

    async def test_complete_and_claim_completes_messages_and_leases_the_next_in_one_call(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message("a"), message("a"), message("b"), message("c")]
        await outbox.save_messages(sent)
        (lost,) = await outbox.claim("slow", limit=1, lease=0.02)
        await asyncio.sleep(0.05)
        a, b = await outbox.claim("relay", limit=3)
        published = [(lost, [sent[0].message_id]), (a, [sent[0].message_id]), (b, _ids(b.messages))]

        with raises(InvalidOperationError):
            await outbox.complete_and_claim(published, "relay", limit=0)
        lost_leases, leases = await outbox.complete_and_claim(published, "relay")

        assert lost_leases == [lost]
        assert {lease.key: _ids(lease.messages) for lease in leases} == {
            "a": _ids(sent[1:2]),
            "c": _ids(sent[3:]),
        }
        assert min(lease.epoch for lease in leases) > max(a.epoch, b.epoch)
        assert _ids(await outbox.get_pending()) == _ids([sent[1], sent[3]])
        assert await outbox.claim("another") == []

    async def test_marking_a_dead_letter_as_published_unblocks_its_partition_key(
        self, outbox: ILeasedOutbox
    ) -> None:
        poison, later = message("k"), message("k")
        await outbox.save_messages([poison, later])
        await _make_dead_letter(outbox, poison)

        await outbox.mark_published([poison.message_id])

        assert await outbox.list_dead_letters() == []
        (lease,) = await outbox.claim("relay")
        assert _ids(lease.messages) == _ids([later])

    async def test_outbox_rejects_the_whole_list_if_one_message_is_not_json(
        self, outbox: ILeasedOutbox
    ) -> None:
        for value in (object(), float("nan")):
            with raises(SerializationError):
                await outbox.save_messages([message("k"), message("k", payload={"value": value})])

        assert await outbox.get_pending() == []

    async def test_failed_message_blocks_only_its_own_partition_key_until_its_retry(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message("a"), message("a"), message("b"), message("c"), message("c")]
        await outbox.save_messages(sent)
        leases = {lease.key: lease for lease in await outbox.claim("relay")}
        hour, now = timedelta(hours=1), datetime.now(timezone.utc)

        await outbox.fail(leases["a"], sent[0].message_id, "no route", retry_at=now + hour)
        await outbox.release(leases["b"])
        await outbox.fail(leases["c"], sent[3].message_id, "busy", retry_at=now - hour)

        again = {lease.key: lease for lease in await outbox.claim("relay")}
        assert set(again) == {"b", "c"}
        assert _ids(again["c"].messages) == _ids(sent[3:])
        first = again["c"].messages[0]
        assert (first.retry_count, first.error) == (1, "busy")

    async def test_key_released_with_a_retry_time_is_blocked_and_counts_no_try(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message("a"), message("b"), message("c")]
        await outbox.save_messages(sent)
        leases = {lease.key: lease for lease in await outbox.claim("relay")}
        hour, now = timedelta(hours=1), datetime.now(timezone.utc)

        await outbox.release(leases["a"], retry_at=now + hour)
        await outbox.release(leases["b"], retry_at=now - hour)
        await outbox.release(leases["c"])
        await outbox.release(leases["c"], retry_at=now + hour)  # The lease has ended.

        again = {lease.key: lease for lease in await outbox.claim("relay")}
        assert set(again) == {"b", "c"}
        assert (await outbox.get_backlog()).blocked == 1
        assert [each.retry_count for each in await outbox.get_pending()] == [0, 0, 0]

    async def test_dead_letter_blocks_its_partition_key_until_it_is_retried_or_discarded(
        self, outbox: ILeasedOutbox
    ) -> None:
        poison, later = message("k"), message("k")
        await outbox.save_messages([poison, later])
        await _make_dead_letter(outbox, poison)

        assert await outbox.claim("relay") == []
        assert await outbox.get_pending() == []
        assert [(p.message_id, p.error) for p in await outbox.list_dead_letters()] == [
            (poison.message_id, "poison")
        ]
        with raises(InvalidOperationError):
            await outbox.discard(later.message_id)

        await outbox.retry(poison.message_id)
        (lease,) = await outbox.claim("relay")
        assert _ids(lease.messages) == _ids([poison, later])
        assert lease.messages[0].retry_count == 0
        await outbox.release(lease)

        await _make_dead_letter(outbox, poison)
        await outbox.discard(poison.message_id)
        (lease,) = await outbox.claim("relay")
        assert _ids(lease.messages) == _ids([later])
        assert await outbox.list_dead_letters() == []
        for absent in (poison.message_id, "never saved"):
            with raises(InvalidOperationError):
                await outbox.retry(absent)

    async def test_backlog_of_an_outbox_without_unpublished_messages_is_empty(
        self, outbox: ILeasedOutbox
    ) -> None:
        empty = OutboxBacklog(waiting=0, blocked=0, dead_letters=0, oldest_at=None)
        assert await outbox.get_backlog() == empty

        sent = message("k")
        await outbox.save_messages([sent])
        await outbox.mark_published([sent.message_id])

        assert await outbox.get_backlog() == empty

    async def test_backlog_counts_each_unpublished_message_once(
        self, outbox: ILeasedOutbox
    ) -> None:
        hour, now = timedelta(hours=1), datetime.now(timezone.utc)
        keys = ["poison", "poison", "poison", None, "later", "later", "due", "leased", "leased"]
        sent = [message(key) for key in keys]
        await outbox.save_messages(sent)
        leases = {lease.messages[0].message_id: lease for lease in await outbox.claim("relay")}
        for number, retry_at in ((0, None), (3, None), (4, now + hour), (6, now - hour)):
            failed = sent[number].message_id
            await outbox.fail(leases[failed], failed, "no route", retry_at=retry_at)
        await outbox.save_messages([message("poison"), message("later"), message("new")])

        backlog = await outbox.get_backlog()

        assert backlog.dead_letters == 2
        assert backlog.blocked == 3 + 3
        assert backlog.waiting == 1 + 2 + 1

    async def test_backlog_follows_the_retry_and_the_discard_of_dead_letters(
        self, outbox: ILeasedOutbox
    ) -> None:
        one, two = message("a"), message("b")
        await outbox.save_messages([one, message("a"), two, message("b")])
        for lease in await outbox.claim("relay"):
            await outbox.fail(lease, lease.messages[0].message_id, "poison", retry_at=None)
        assert _counts(await outbox.get_backlog()) == (0, 2, 2)

        await outbox.retry(one.message_id)
        assert _counts(await outbox.get_backlog()) == (2, 1, 1)
        await outbox.discard(two.message_id)
        assert _counts(await outbox.get_backlog()) == (3, 0, 0)

    async def test_backlog_is_as_old_as_its_oldest_message_that_is_not_a_dead_letter(
        self, outbox: ILeasedOutbox
    ) -> None:
        start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
        published, poison, behind, last = (
            message(key, created_at=start + timedelta(microseconds=number))
            for number, key in enumerate(("a", "b", "b", "c"))
        )
        await outbox.save_messages([published, poison])
        await outbox.mark_published([published.message_id])
        await _make_dead_letter(outbox, poison)
        assert (await outbox.get_backlog()).oldest_at is None

        # A message may be saved after a message that was created later.
        await outbox.save_messages([last, behind])
        assert (await outbox.get_backlog()).oldest_at == behind.created_at
        await outbox.mark_published([behind.message_id])
        assert (await outbox.get_backlog()).oldest_at == last.created_at

    async def test_backlog_counts_committed_messages_only(
        self, outbox: ILeasedOutbox, new_uow: NewUnitOfWork
    ) -> None:
        kept = message("k")
        await outbox.save_messages([kept])

        async with new_uow() as uow:
            await outbox.save_messages([message("k"), message("k")], uow)
            await outbox.mark_published([kept.message_id], uow)
            assert _counts(await outbox.get_backlog()) == (1, 0, 0)
            await uow.rollback()

        assert _counts(await outbox.get_backlog()) == (1, 0, 0)

    async def test_outbox_purge_deletes_only_messages_published_before_a_time(
        self, outbox: ILeasedOutbox
    ) -> None:
        sent = [message("k") for _ in range(3)]
        await outbox.save_messages(sent)
        await outbox.mark_published(_ids(sent[:2]))
        now = datetime.now(timezone.utc)

        assert await outbox.purge(now - timedelta(hours=1)) == 0
        assert await outbox.purge(now + timedelta(hours=1), limit=1) == 1
        assert await outbox.purge(now + timedelta(hours=1)) == 1
        assert await outbox.purge(now + timedelta(hours=1)) == 0

        assert _ids(await outbox.get_pending()) == _ids(sent[2:])


_numbers = count(1)


def message(key: str | None, **fields: Any) -> OutboxMessage:
    """Return a message.

    Args:
        key: Partition key of the message; None if it needs no order.
        fields: Fields of ``OutboxMessage`` that replace the defaults.
    """
    number = next(_numbers)
    facts: dict[str, Any] = {
        "message_id": f"message-{number}",
        "event_type": "ParcelWeighed",
        "payload": {"number": number},
        **fields,
    }
    return OutboxMessage(partition_key=key, **facts)


async def _make_dead_letter(outbox: ILeasedOutbox, poison: OutboxMessage) -> None:
    (lease,) = await outbox.claim("relay")
    await outbox.fail(lease, poison.message_id, "poison", retry_at=None)


def _counts(backlog: OutboxBacklog) -> tuple[int, int, int]:
    return backlog.waiting, backlog.blocked, backlog.dead_letters


def _ids(messages: Sequence[OutboxMessage]) -> list[str]:
    return [each.message_id for each in messages]
