"""What every inbox must do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from ...ports import IInbox, InboxEntry, UnitOfWork
from ...primitives.exceptions import DuplicateCommandError, InboxError, SerializationError
from ..assertions import UNSTORABLE_IDS, raises
from ..faults import cancel_sweep

NewUnitOfWork = Callable[[], UnitOfWork]


class InboxContract:
    """Fixtures: ``inbox``, and ``new_uow``, which makes units of work."""

    async def test_the_first_time_is_news_and_a_repetition_is_known(self, inbox: IInbox) -> None:
        message_id = _id()

        assert await inbox.register("billing", message_id, "print") is None
        known = await inbox.register("billing", message_id, "print")

        assert known == InboxEntry("billing", message_id, "print")

    async def test_ids_that_not_every_database_keeps_are_refused(self, inbox: IInbox) -> None:
        for bad in UNSTORABLE_IDS:
            with raises(SerializationError):
                await inbox.register("billing", bad, "print")
            with raises(SerializationError):
                await inbox.register(bad, _id(), "print")

    async def test_consumers_do_not_block_each_other(self, inbox: IInbox) -> None:
        message_id = _id()

        assert await inbox.register("billing", message_id, "print") is None
        assert await inbox.register("shipping", message_id, "print") is None

    async def test_an_outcome_is_kept_as_json(self, inbox: IInbox, new_uow: NewUnitOfWork) -> None:
        message_id = _id()
        async with new_uow() as uow:
            await inbox.register("billing", message_id, "print", uow)
            await inbox.store_outcome("billing", message_id, {"numbers": (1, 2), "x": None}, uow)

        known = await inbox.register("billing", message_id, "print")

        assert known is not None
        assert known.outcome == {"numbers": [1, 2], "x": None}

    async def test_an_outcome_comes_back_as_it_was(self, inbox: IInbox) -> None:
        outcomes = [0.1 + 0.2, 1.0, -0.0, 2**64 + 1, 12345678901234567890, "1.50", True, None, []]
        for outcome in outcomes:
            message_id = _id()
            await inbox.register("billing", message_id, "print")
            await inbox.store_outcome("billing", message_id, outcome)

            known = await inbox.register("billing", message_id, "print")

            assert known is not None
            assert repr(known.outcome) == repr(outcome)

    async def test_the_same_id_with_another_content_is_refused(self, inbox: IInbox) -> None:
        message_id = _id()
        await inbox.register("billing", message_id, "one")

        with raises(DuplicateCommandError) as caught:
            await inbox.register("billing", message_id, "two")

        assert caught.error.command_id == message_id
        assert message_id in str(caught.error)

    async def test_a_failed_first_time_leaves_no_trace(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        message_id = _id()

        with raises(LookupError):
            async with new_uow() as uow:
                await inbox.register("billing", message_id, "print", uow)
                raise LookupError

        assert await inbox.register("billing", message_id, "another print") is None

    async def test_a_repetition_waits_for_the_first_one_to_commit(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        assert await _register_during_open_transaction(inbox, new_uow, commits=True) is not None

    async def test_a_repetition_is_news_when_the_first_one_rolls_back(
        self, inbox: IInbox, new_uow: NewUnitOfWork
    ) -> None:
        assert await _register_during_open_transaction(inbox, new_uow, commits=False) is None

    async def test_of_many_copies_at_once_one_is_news(
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

    async def test_a_cancellation_at_any_point_is_all_or_nothing(
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

    async def test_an_outcome_needs_its_message_and_must_be_json(self, inbox: IInbox) -> None:
        message_id = _id()
        with raises(InboxError):
            await inbox.store_outcome("billing", message_id, "done")
        await inbox.register("billing", message_id, "print")
        with raises(SerializationError):
            await inbox.store_outcome("billing", message_id, object())


async def _register_during_open_transaction(
    inbox: IInbox, new_uow: NewUnitOfWork, *, commits: bool
) -> InboxEntry | None:
    message_id = _id()
    registered, go_on = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with new_uow() as uow:
            await inbox.register("billing", message_id, "print", uow)
            registered.set()
            await go_on.wait()
            if not commits:
                await uow.rollback()

    async def second() -> InboxEntry | None:
        async with new_uow() as uow:
            return await inbox.register("billing", message_id, "print", uow)

    one = asyncio.ensure_future(first())
    await registered.wait()
    two = asyncio.ensure_future(second())
    await asyncio.wait({two}, timeout=0.05)
    assert not two.done(), "the repetition did not wait"
    go_on.set()
    await one
    return await two


_numbers = count(1)


def _id() -> str:
    """A message id that no other test of this process uses."""
    return f"message-{next(_numbers)}"
