"""What every store of dead letters must do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any

from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_core.testing.assertions import raises
from cqrs_ddd_core.testing.faults import cancel_sweep

from ...exceptions import UnknownDeadLetterError
from ...ports.dead_letters import DeadLetter, DeadLetterState, IDeadLetterStore

NewUnitOfWork = Callable[[], UnitOfWork]

POISON, WAITING, SKIPPED = (
    DeadLetterState.POISON,
    DeadLetterState.WAITING,
    DeadLetterState.SKIPPED,
)


class DeadLetterStoreContract:
    """Fixtures: ``dead_letters``, empty at first, and ``new_uow``, which makes units of work."""

    async def test_a_letter_comes_back_as_it_was_given(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
        given = [
            letter("p", 1, error="naïve ☃\nin two lines", attempts=3, recorded_at=at),
            letter("p", 2, "b", state=SKIPPED, is_due=True),
            letter("p", 10**12, state=WAITING, event_type="Another", event_id="of its own"),
        ]

        await add(dead_letters, new_uow, *given)

        assert await dead_letters.list_dead_letters() == given

    async def test_an_error_that_no_database_takes_as_text_is_kept_all_the_same(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(dead_letters, new_uow, letter("p", 1, error="cannot read \0 and \udc80"))

        (found,) = await dead_letters.list_dead_letters("p")
        assert found.error is not None
        assert found.error.startswith("cannot read ")

    async def test_a_letter_takes_the_place_of_the_one_at_its_position(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(dead_letters, new_uow, letter("p", 1, attempts=3), letter("q", 1, attempts=3))
        await dead_letters.retry("p", 1)

        again = letter("p", 1, error="still", attempts=4)
        await add(dead_letters, new_uow, letter("p", 1, attempts=9), again)

        assert await dead_letters.list_dead_letters("p") == [again]
        assert await dead_letters.retryable("p") == []
        assert [each.attempts for each in await dead_letters.list_dead_letters("q")] == [3]

    async def test_letters_are_there_with_their_transaction_and_not_before(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        kept, lost = letter("p", 1, is_due=True), letter("p", 2, "b", is_due=True)
        streams = [kept.stream, lost.stream]

        with raises(LookupError):
            async with new_uow() as uow:
                await dead_letters.add([lost], uow=uow)
                raise LookupError
        async with new_uow() as uow:
            await dead_letters.add([kept], uow=uow)
            assert await dead_letters.blocked_streams("p", streams, uow=uow) == {kept.stream}
            assert await dead_letters.retryable("p", uow=uow) == [kept]
            assert await dead_letters.list_dead_letters() == []
            async with new_uow() as other:
                assert await dead_letters.blocked_streams("p", streams, uow=other) == set()
                assert await dead_letters.retryable("p", uow=other) == []

        assert await dead_letters.list_dead_letters() == [kept]

    async def test_removing_a_dead_letter_twice_is_no_error(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two, other = letter("p", 1), letter("p", 2, state=WAITING), letter("q", 1)
        await add(dead_letters, new_uow, one, two, other)

        for _ in range(2):
            async with new_uow() as uow:
                await dead_letters.remove([two, one], uow=uow)
                await dead_letters.remove([], uow=uow)

        assert await dead_letters.list_dead_letters() == [other]

    async def test_a_stream_is_held_by_what_failed_and_by_what_waits_due_or_not(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        failed, waiting, skipped, free = (StreamId("Parcel", name) for name in "abcd")
        namesake = StreamId("Other", "a")
        await add(
            dead_letters,
            new_uow,
            letter("p", 1, "a"),
            letter("p", 2, "a", state=WAITING),
            letter("p", 3, "b", state=WAITING, is_due=True),
            letter("p", 4, "c", state=SKIPPED),
            letter("q", 5, "d"),
        )
        asked = [free, skipped, waiting, failed, namesake]

        assert await dead_letters.blocked_streams("p", asked) == {failed, waiting}
        assert await dead_letters.blocked_streams("q", asked) == {free}
        assert await dead_letters.blocked_streams("p", [skipped]) == set()
        assert await dead_letters.blocked_streams("p", []) == set()
        await dead_letters.retry("p", 1)
        assert await dead_letters.blocked_streams("p", asked) == {failed, waiting}

    async def test_a_retry_makes_the_whole_stream_due_in_its_order(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        for asked in (3, 5, 9):
            name = f"p{asked}"
            await add(
                dead_letters,
                new_uow,
                letter(name, 9, state=WAITING),
                letter(name, 3),
                letter(name, 5, state=WAITING),
                letter(name, 4, "b"),
                letter(name, 6, "b", state=WAITING),
                letter(name, 7, state=SKIPPED),
            )

            await dead_letters.retry(name, asked)

            assert positions_of(await dead_letters.retryable(name)) == [3, 5, 9]
        await dead_letters.retry("p3", 4)
        assert positions_of(await dead_letters.retryable("p3")) == [3, 4, 5, 6, 9]
        assert positions_of(await dead_letters.retryable("p3", limit=2)) == [3, 4]
        assert await dead_letters.retryable("q") == []

    async def test_a_retry_of_what_was_skipped_is_of_that_letter_alone(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            letter("p", 1, state=SKIPPED),
            letter("p", 2, state=SKIPPED),
            letter("p", 3),
        )

        await dead_letters.retry("p", 1)

        assert positions_of(await dead_letters.retryable("p")) == [1]

    async def test_retryable_dead_letter_waits_for_earlier_ones_that_are_not_due(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            letter("p", 3),
            letter("p", 5, state=WAITING),
            letter("p", 6, "b"),
        )
        await dead_letters.retry("p", 3)

        # The first one failed again.
        await add(dead_letters, new_uow, letter("p", 3, attempts=2))
        await dead_letters.retry("p", 6)

        assert positions_of(await dead_letters.retryable("p")) == [6]

    async def test_waiting_dead_letter_without_a_failed_one_is_due(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(dead_letters, new_uow, letter("p", 1), letter("p", 2, "b"), letter("p", 3, "c"))
        await dead_letters.retry("p", 1)
        await dead_letters.discard("p", 2)

        # Whoever found the streams held sets the next events aside.
        new = [letter("p", n, s, state=WAITING) for n, s in ((4, "a"), (5, "b"), (6, "c"))]
        await add(dead_letters, new_uow, *new)

        assert positions_of(await dead_letters.retryable("p")) == [1, 4, 5]

    async def test_dead_letter_added_during_a_retry_or_a_discard_is_not_left_behind(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        for ask, due in ((dead_letters.retry, [1, 2, 3]), (dead_letters.discard, [2, 3])):
            name = f"p{len(due)}"
            await add(dead_letters, new_uow, letter(name, 1), letter(name, 2, state=WAITING))
            is_added = asyncio.Event()

            async def set_aside(name: str = name, is_added: asyncio.Event = is_added) -> None:
                async with new_uow() as uow:
                    await dead_letters.add([letter(name, 3, state=WAITING)], uow=uow)
                    is_added.set()
                    await asyncio.sleep(0.1)

            async def change(
                name: str = name, is_added: asyncio.Event = is_added, ask: Any = ask
            ) -> None:
                await is_added.wait()
                await ask(name, 1)

            await asyncio.gather(set_aside(), change())

            assert positions_of(await dead_letters.retryable(name)) == due

    async def test_a_discard_of_what_failed_lets_go_what_waits_behind_it(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        failed = letter("p", 1)
        behind = [letter("p", 2, state=WAITING), letter("p", 4, state=WAITING)]
        await add(dead_letters, new_uow, failed, *behind, letter("p", 3, "b"))

        await dead_letters.discard("p", 1)

        assert positions_of(await dead_letters.retryable("p")) == [2, 4]
        assert await dead_letters.blocked_streams("p", [failed.stream]) == {failed.stream}
        async with new_uow() as uow:
            await dead_letters.remove(behind, uow=uow)
        assert await dead_letters.blocked_streams("p", [failed.stream]) == set()

    async def test_a_discard_of_what_waits_or_was_skipped_is_of_that_letter_alone(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            letter("p", 1),
            letter("p", 2, state=WAITING),
            letter("p", 3, state=WAITING),
            letter("p", 4, "b", state=SKIPPED),
        )

        await dead_letters.discard("p", 2)
        await dead_letters.discard("p", 4)

        assert positions_of(await dead_letters.list_dead_letters("p")) == [1, 3]
        assert await dead_letters.retryable("p") == []

    async def test_a_letter_that_is_not_there_is_named(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(dead_letters, new_uow, letter("p", 1))

        for ask in (dead_letters.retry, dead_letters.discard):
            for projection, position in (("p", 2), ("q", 1)):
                with raises(UnknownDeadLetterError) as unknown:
                    await ask(projection, position)
                assert unknown.error.projection == projection
                assert unknown.error.position == position

    async def test_an_operator_changes_letters_at_once_whichever_unit_of_work_is_open(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(dead_letters, new_uow, letter("p", 1), letter("p", 2, "b"))

        async with new_uow() as uow:
            await dead_letters.retry("p", 1)
            await dead_letters.discard("p", 2)
            await uow.rollback()

        assert positions_of(await dead_letters.list_dead_letters()) == [1]
        assert positions_of(await dead_letters.retryable("p")) == [1]

    async def test_letters_come_in_pages_that_leave_none_out(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        given = [letter(name, n) for n in range(1, 6) for name in ("p", "q")]
        await add(dead_letters, new_uow, *given)

        assert positions_of(await dead_letters.list_dead_letters("p", after=1, limit=2)) == [2, 3]
        for limit in (1, 2, 3, 100):
            found: list[DeadLetter] = []
            while page := await dead_letters.list_dead_letters(
                after=found[-1].position if found else 0, limit=limit
            ):
                found += page
            assert [(each.projection, each.position) for each in found] == [
                (each.projection, each.position) for each in given
            ]
        for read in (dead_letters.list_dead_letters, dead_letters.retryable):
            with raises(InvalidOperationError):
                await read("p", limit=0)

    async def test_letters_are_handed_over_instead_of_those_that_were_there(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            *(letter("p", n) for n in (1, 2)),
            *(letter("p.next", n, "b", is_due=n == 3) for n in (2, 3)),
            letter("q", 1),
        )

        with raises(LookupError):
            async with new_uow() as uow:
                await dead_letters.replace("p", "p.next", uow=uow)
                raise LookupError
        assert positions_of(await dead_letters.list_dead_letters("p")) == [1, 2]
        async with new_uow() as uow:
            await dead_letters.replace("p", "p.next", uow=uow)
            await dead_letters.replace("q", "q", uow=uow)

        found = await dead_letters.list_dead_letters("p")
        assert [(e.position, e.stream.aggregate_id, e.is_due) for e in found] == [
            (2, "b", False),
            (3, "b", True),
        ]
        assert await dead_letters.list_dead_letters("p.next") == []
        assert positions_of(await dead_letters.list_dead_letters("q")) == [1]

    async def test_a_cancellation_at_any_point_adds_all_or_none(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        numbers = count(1)

        async def work() -> None:
            async with new_uow() as uow:
                first = letter("p", next(numbers))
                await dead_letters.add([first], uow=uow)
                await dead_letters.add([letter("p", next(numbers), state=WAITING)], uow=uow)

        async def check() -> None:
            assert len(await dead_letters.list_dead_letters("p", limit=10_000)) % 2 == 0

        assert await cancel_sweep(work, check) > 0

    async def test_a_cancellation_of_a_discard_leaves_none_behind(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        async def begin() -> None:
            await add(dead_letters, new_uow, letter("p", 1), letter("p", 2, state=WAITING))

        async def work() -> None:
            await dead_letters.discard("p", 1)

        async def check() -> None:
            found = positions_of(await dead_letters.list_dead_letters("p"))
            due = positions_of(await dead_letters.retryable("p"))
            assert (found, due) in (([1, 2], []), ([2], [2]))
            await begin()

        await begin()
        assert await cancel_sweep(work, check) > 0


def letter(
    projection: str,
    position: int,
    stream: str = "a",
    *,
    state: DeadLetterState = DeadLetterState.POISON,
    error: str | None = "KeyError('weight')",
    attempts: int = 1,
    event_id: str | None = None,
    event_type: str = "ParcelWeighed",
    **given: Any,
) -> DeadLetter:
    return DeadLetter(
        projection=projection,
        position=position,
        stream=StreamId("Parcel", stream),
        event_id=event_id or f"event-{position}",
        event_type=event_type,
        state=state,
        error=error if state is not DeadLetterState.WAITING else None,
        attempts=attempts,
        **given,
    )


async def add(dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork, *letters: DeadLetter) -> None:
    async with new_uow() as uow:
        await dead_letters.add(letters, uow=uow)


def positions_of(letters: list[DeadLetter]) -> list[int]:
    return [each.position for each in letters]
