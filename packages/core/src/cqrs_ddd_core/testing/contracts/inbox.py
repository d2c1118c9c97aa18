"""Contract of inboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import count

from ...ports import IInbox, InboxEntry, UnitOfWork
from ...primitives.exceptions import (
    DuplicateCommandError,
    InvalidOperationError,
    SerializationError,
)
from ..assertions import EXACT_JSON, UNSTORABLE_IDS, raises
from ..faults import cancel_sweep
from .tenancy import InboxTenancyContract

NewUnitOfWork = Callable[[], UnitOfWork]


class InboxContract(InboxTenancyContract):
    """Contract of ``IInbox``.

    Fixtures:
        inbox: The inbox under test.
        new_uow: Returns a new unit of work for the inbox.
    """

    async def test_inbox_recognises_a_redelivered_message(self, inbox: IInbox) -> None:
        message_id = _id()

        assert await inbox.register("billing", message_id, "print") is None
        known = await inbox.register("billing", message_id, "print")

        assert known == InboxEntry("billing", message_id, "print")

    async def test_inbox_rejects_ids_that_some_databases_cannot_store(self, inbox: IInbox) -> None:
        for bad in UNSTORABLE_IDS:
            with raises(SerializationError):
                await inbox.register("billing", bad, "print")
            with raises(SerializationError):
                await inbox.register(bad, _id(), "print")

    async def test_inbox_consumers_register_the_same_message_independently(
        self, inbox: IInbox
    ) -> None:
        message_id = _id()

        assert await inbox.register("billing", message_id, "print") is None
        assert await inbox.register("shipping", message_id, "print") is None

    async def test_inbox_stores_the_outcome_of_a_message_as_json(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        message_id = _id()
        async with new_uow() as uow:
            await inbox.register("billing", message_id, "print", uow)
            await inbox.store_outcome("billing", message_id, {"numbers": (1, 2), "x": None}, uow)

        known = await inbox.register("billing", message_id, "print")

        assert known is not None
        assert known.outcome == {"numbers": [1, 2], "x": None}

    async def test_inbox_returns_the_outcome_of_a_message_unchanged(self, inbox: IInbox) -> None:
        for outcome in (*EXACT_JSON.values(), EXACT_JSON, None, "1.50"):
            message_id = _id()
            await inbox.register("billing", message_id, "print")
            await inbox.store_outcome("billing", message_id, outcome)

            known = await inbox.register("billing", message_id, "print")

            assert known is not None
            assert repr(known.outcome) == repr(outcome)

    async def test_change_to_an_outcome_does_not_reach_the_inbox(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        message_id, outcome = _id(), {"numbers": [1, 2]}
        async with new_uow() as uow:
            await inbox.register("billing", message_id, "print", uow)
            await inbox.store_outcome("billing", message_id, outcome, uow)
            outcome["numbers"].append(3)

        for _ in range(2):
            known = await inbox.register("billing", message_id, "print")
            assert known is not None
            assert known.outcome == {"numbers": [1, 2]}
            known.outcome["numbers"].append(3)

    async def test_inbox_rejects_a_known_message_id_with_different_content(
        self, inbox: IInbox
    ) -> None:
        message_id = _id()
        await inbox.register("billing", message_id, "one")

        with raises(DuplicateCommandError) as caught:
            await inbox.register("billing", message_id, "two")

        assert caught.error.command_id == message_id
        assert message_id in str(caught.error)

    async def test_message_of_a_rolled_back_delivery_is_not_registered_in_the_inbox(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        message_id = _id()

        with raises(LookupError):
            async with new_uow() as uow:
                await inbox.register("billing", message_id, "print", uow)
                raise LookupError

        assert await inbox.register("billing", message_id, "another print") is None

    async def test_redelivered_message_waits_until_the_first_delivery_commits(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        assert await _register_during_open_transaction(inbox, new_uow, commits=True) is not None

    async def test_redelivered_message_is_new_if_the_first_delivery_rolls_back(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        assert await _register_during_open_transaction(inbox, new_uow, commits=False) is None

    async def test_exactly_one_of_many_concurrent_deliveries_is_processed(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        message_id = _id()
        effects: list[int] = []

        async def consume(copy: int) -> None:
            async with new_uow() as uow:
                if await inbox.register("billing", message_id, "print", uow) is None:
                    await asyncio.sleep(0.002)
                    effects.append(copy)

        await asyncio.gather(*(consume(copy) for copy in range(20)))

        assert len(effects) == 1

    async def test_cancelled_delivery_registers_message_and_outcome_or_neither(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        ids: list[str] = []

        async def work() -> None:
            ids.append(_id())
            async with new_uow() as uow:
                await inbox.register("billing", ids[-1], "print", uow)
                await inbox.store_outcome("billing", ids[-1], "done", uow)

        async def check() -> None:
            async with new_uow() as uow:
                known = await inbox.register("billing", ids[-1], "print", uow)
                assert known is None or known.outcome == "done"

        assert await cancel_sweep(work, check) > 0

    async def test_inbox_rejects_an_outcome_that_has_no_message_or_is_not_json(
        self, inbox: IInbox
    ) -> None:
        message_id = _id()
        with raises(InvalidOperationError):
            await inbox.store_outcome("billing", message_id, "done")
        await inbox.register("billing", message_id, "print")
        with raises(SerializationError):
            await inbox.store_outcome("billing", message_id, object())

    async def test_inbox_purge_deletes_only_messages_registered_before_a_time(
        self, inbox: IInbox
    ) -> None:
        ids = [_id() for _ in range(3)]
        for message_id in ids[:2]:
            await inbox.register("billing", message_id, "print")
            await inbox.store_outcome("billing", message_id, "done")
        now = datetime.now(timezone.utc)

        assert await inbox.purge(now - timedelta(hours=1)) == 0
        for message_id in ids[:2]:
            known = await inbox.register("billing", message_id, "print")
            assert known is not None
            assert known.outcome == "done"

        assert await inbox.purge(now + timedelta(hours=1), limit=1) == 1
        assert await inbox.purge(now + timedelta(hours=1)) == 1
        assert await inbox.purge(now + timedelta(hours=1)) == 0
        for message_id in ids:
            assert await inbox.register("billing", message_id, "print") is None

    async def test_inbox_purge_keeps_a_message_of_an_open_transaction(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        message_id = _id()
        async with new_uow() as uow:
            await inbox.register("billing", message_id, "print", uow)
            await inbox.store_outcome("billing", message_id, "done", uow)
            purging = asyncio.ensure_future(
                inbox.purge(datetime.now(timezone.utc) + timedelta(hours=1))
            )
            await asyncio.wait({purging}, timeout=0.1)
            has_waited = not purging.done()

        deleted = await purging
        is_kept = await inbox.register("billing", message_id, "print") is not None
        # A purge that waits for the transaction finds a committed message afterwards.
        assert (deleted, is_kept) == (0, True) or (has_waited and (deleted, is_kept) == (1, False))

    async def test_purge_of_the_inbox_and_redeliveries_run_at_the_same_time(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        message_id = _id()
        await inbox.purge(datetime.now(timezone.utc) + timedelta(hours=1))  # Of earlier tests.
        registered: list[int] = []
        deleted: list[int] = []

        async def redeliver() -> None:
            for _ in range(10):
                async with new_uow() as uow:
                    if await inbox.register("billing", message_id, "print", uow) is None:
                        await inbox.store_outcome("billing", message_id, "done", uow)
                        registered.append(1)

        async def purge() -> None:
            later = datetime.now(timezone.utc) + timedelta(hours=1)
            deleted.extend([await inbox.purge(later) for _ in range(10)])

        await asyncio.gather(redeliver(), redeliver(), purge(), purge())

        await purge()
        assert sum(registered) == sum(deleted) > 0


async def _register_during_open_transaction(
    inbox: IInbox, new_uow: NewUnitOfWork, *, commits: bool
) -> InboxEntry | None:
    message_id = _id()
    registered, may_end = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with new_uow() as uow:
            await inbox.register("billing", message_id, "print", uow)
            registered.set()
            await may_end.wait()
            if not commits:
                await uow.rollback()

    async def second() -> InboxEntry | None:
        async with new_uow() as uow:
            return await inbox.register("billing", message_id, "print", uow)

    one = asyncio.ensure_future(first())
    await registered.wait()
    two = asyncio.ensure_future(second())
    await asyncio.wait({two}, timeout=0.05)
    assert not two.done(), "the redelivered message did not wait"
    may_end.set()
    await one
    return await two


_numbers = count(1)


def _id() -> str:
    """Return a message id that no other test of this process uses."""
    return f"message-{next(_numbers)}"
