"""Contract of dead-letter stores."""

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
from ...ports.dead_letters import DeadLetter, DeadLetterCount, DeadLetterState, IDeadLetterStore
from .tenancy import DeadLetterTenancyContract

NewUnitOfWork = Callable[[], UnitOfWork]

POISON, WAITING, SKIPPED = (
    DeadLetterState.POISON,
    DeadLetterState.WAITING,
    DeadLetterState.SKIPPED,
)


class DeadLetterStoreContract(DeadLetterTenancyContract):
    """Contract of ``IDeadLetterStore``.

    Your test class provides two fixtures: ``dead_letters``, an empty store, and ``new_uow``, a
    callable that returns a new unit of work.
    """

    async def test_dead_letter_is_read_back_with_every_field_unchanged(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
        given = [
            make_dead_letter("p", 1, error="naïve ☃\nin two lines", attempts=3, recorded_at=at),
            make_dead_letter("p", 2, "b", state=SKIPPED, is_due=True),
            make_dead_letter(
                "p", 10**12, state=WAITING, event_type="Another", event_id="of its own"
            ),
        ]

        await add(dead_letters, new_uow, *given)

        assert await dead_letters.list_dead_letters() == given

    async def test_dead_letters_are_counted_with_the_streams_that_they_block(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        assert await dead_letters.count_dead_letters() == {}
        await add(
            dead_letters,
            new_uow,
            *make_letters_of_three_streams("p"),
            make_dead_letter("q", 4, "c", state=SKIPPED),
        )

        async with new_uow() as uow:
            await dead_letters.add([make_dead_letter("r", 5)], uow=uow)
            counts = await dead_letters.count_dead_letters()
            await uow.rollback()

        assert counts == {
            "p": DeadLetterCount(dead_letters=4, blocked_streams=2),
            "q": DeadLetterCount(dead_letters=1, blocked_streams=0),
        }

    async def test_dead_letter_with_an_unstorable_error_text_is_kept(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters, new_uow, make_dead_letter("p", 1, error="cannot read \0 and \udc80")
        )

        (found,) = await dead_letters.list_dead_letters("p")
        assert found.error is not None
        assert found.error.startswith("cannot read ")

    async def test_dead_letter_replaces_the_dead_letter_at_the_same_position(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            make_dead_letter("p", 1, attempts=3),
            make_dead_letter("q", 1, attempts=3),
        )
        await dead_letters.retry("p", 1)

        again = make_dead_letter("p", 1, error="still", attempts=4)
        await add(dead_letters, new_uow, make_dead_letter("p", 1, attempts=9), again)

        assert await dead_letters.list_dead_letters("p") == [again]
        assert await dead_letters.retryable("p") == []
        assert [each.attempts for each in await dead_letters.list_dead_letters("q")] == [3]

    async def test_dead_letters_become_visible_when_their_transaction_commits(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        kept, lost = (
            make_dead_letter("p", 1, is_due=True),
            make_dead_letter("p", 2, "b", is_due=True),
        )
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

    async def test_dead_letter_can_be_removed_twice(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two, other = (
            make_dead_letter("p", 1),
            make_dead_letter("p", 2, state=WAITING),
            make_dead_letter("q", 1),
        )
        await add(dead_letters, new_uow, one, two, other)

        for _ in range(2):
            async with new_uow() as uow:
                await dead_letters.remove([two, one], uow=uow)
                await dead_letters.remove([], uow=uow)

        assert await dead_letters.list_dead_letters() == [other]

    async def test_failed_and_waiting_dead_letters_block_their_stream_even_if_retryable(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        failed, waiting, skipped, free = (StreamId("Parcel", name) for name in "abcd")
        namesake = StreamId("Other", "a")
        await add(
            dead_letters,
            new_uow,
            *make_letters_of_three_streams("p"),
            make_dead_letter("q", 5, "d"),
        )
        streams = [free, skipped, waiting, failed, namesake]

        assert await dead_letters.blocked_streams("p", streams) == {failed, waiting}
        assert await dead_letters.blocked_streams("q", streams) == {free}
        assert await dead_letters.blocked_streams("p", [skipped]) == set()
        assert await dead_letters.blocked_streams("p", []) == set()
        await dead_letters.retry("p", 1)
        assert await dead_letters.blocked_streams("p", streams) == {failed, waiting}

    async def test_retry_makes_all_dead_letters_of_the_stream_retryable_in_position_order(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        for position in (3, 5, 9):
            name = f"p{position}"
            await add(
                dead_letters,
                new_uow,
                make_dead_letter(name, 9, state=WAITING),
                make_dead_letter(name, 3),
                make_dead_letter(name, 5, state=WAITING),
                make_dead_letter(name, 4, "b"),
                make_dead_letter(name, 6, "b", state=WAITING),
                make_dead_letter(name, 7, state=SKIPPED),
            )

            await dead_letters.retry(name, position)

            assert positions_of(await dead_letters.retryable(name)) == [3, 5, 9]
        await dead_letters.retry("p3", 4)
        assert positions_of(await dead_letters.retryable("p3")) == [3, 4, 5, 6, 9]
        assert positions_of(await dead_letters.retryable("p3", limit=2)) == [3, 4]
        assert await dead_letters.retryable("q") == []

    async def test_retry_of_a_skipped_dead_letter_makes_no_other_dead_letter_retryable(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            make_dead_letter("p", 1, state=SKIPPED),
            make_dead_letter("p", 2, state=SKIPPED),
            make_dead_letter("p", 3),
        )

        await dead_letters.retry("p", 1)

        assert positions_of(await dead_letters.retryable("p")) == [1]

    async def test_retryable_dead_letter_waits_for_earlier_dead_letters_of_its_stream(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            make_dead_letter("p", 3),
            make_dead_letter("p", 5, state=WAITING),
            make_dead_letter("p", 6, "b"),
        )
        await dead_letters.retry("p", 3)

        # The event at position 3 failed again.
        await add(dead_letters, new_uow, make_dead_letter("p", 3, attempts=2))
        await dead_letters.retry("p", 6)

        assert positions_of(await dead_letters.retryable("p")) == [6]

    async def test_dead_letter_added_after_a_retry_or_discard_of_its_stream_is_retryable(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            make_dead_letter("p", 1),
            make_dead_letter("p", 2, "b"),
            make_dead_letter("p", 3, "c"),
        )
        await dead_letters.retry("p", 1)
        await dead_letters.discard("p", 2)

        # A worker that saw the streams as blocked adds their next events as waiting.
        new = [
            make_dead_letter("p", n, s, state=WAITING) for n, s in ((4, "a"), (5, "b"), (6, "c"))
        ]
        await add(dead_letters, new_uow, *new)

        assert positions_of(await dead_letters.retryable("p")) == [1, 4, 5]

    async def test_dead_letter_added_during_a_retry_or_discard_becomes_retryable(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        for request, due in ((dead_letters.retry, [1, 2, 3]), (dead_letters.discard, [2, 3])):
            name = f"p{len(due)}"
            await add(
                dead_letters,
                new_uow,
                make_dead_letter(name, 1),
                make_dead_letter(name, 2, state=WAITING),
            )
            is_added = asyncio.Event()

            async def add_waiting(name: str = name, is_added: asyncio.Event = is_added) -> None:
                async with new_uow() as uow:
                    await dead_letters.add([make_dead_letter(name, 3, state=WAITING)], uow=uow)
                    is_added.set()
                    await asyncio.sleep(0.1)

            async def change(
                name: str = name, is_added: asyncio.Event = is_added, request: Any = request
            ) -> None:
                await is_added.wait()
                await request(name, 1)

            await asyncio.gather(add_waiting(), change())

            assert positions_of(await dead_letters.retryable(name)) == due

    async def test_discard_of_a_failed_dead_letter_makes_its_waiting_ones_retryable(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        failed = make_dead_letter("p", 1)
        behind = [make_dead_letter("p", 2, state=WAITING), make_dead_letter("p", 4, state=WAITING)]
        await add(dead_letters, new_uow, failed, *behind, make_dead_letter("p", 3, "b"))

        await dead_letters.discard("p", 1)

        assert positions_of(await dead_letters.retryable("p")) == [2, 4]
        assert await dead_letters.blocked_streams("p", [failed.stream]) == {failed.stream}
        async with new_uow() as uow:
            await dead_letters.remove(behind, uow=uow)
        assert await dead_letters.blocked_streams("p", [failed.stream]) == set()

    async def test_discard_of_a_waiting_or_skipped_dead_letter_changes_no_other(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            make_dead_letter("p", 1),
            make_dead_letter("p", 2, state=WAITING),
            make_dead_letter("p", 3, state=WAITING),
            make_dead_letter("p", 4, "b", state=SKIPPED),
        )

        await dead_letters.discard("p", 2)
        await dead_letters.discard("p", 4)

        assert positions_of(await dead_letters.list_dead_letters("p")) == [1, 3]
        assert await dead_letters.retryable("p") == []

    async def test_retry_or_discard_of_an_unknown_dead_letter_names_it_in_the_error(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(dead_letters, new_uow, make_dead_letter("p", 1))

        for request in (dead_letters.retry, dead_letters.discard):
            for projection, position in (("p", 2), ("q", 1)):
                with raises(UnknownDeadLetterError) as unknown:
                    await request(projection, position)
                assert unknown.error.projection == projection
                assert unknown.error.position == position

    async def test_retry_and_discard_take_effect_even_if_the_open_unit_of_work_rolls_back(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(dead_letters, new_uow, make_dead_letter("p", 1), make_dead_letter("p", 2, "b"))

        async with new_uow() as uow:
            await dead_letters.retry("p", 1)
            await dead_letters.discard("p", 2)
            await uow.rollback()

        assert positions_of(await dead_letters.list_dead_letters()) == [1]
        assert positions_of(await dead_letters.retryable("p")) == [1]

    async def test_pages_of_dead_letters_contain_every_dead_letter_by_position(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        given = [make_dead_letter(name, n) for n in range(1, 6) for name in ("p", "q")]
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

    async def test_replacement_gives_a_projection_the_dead_letters_of_its_rebuild(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await add(
            dead_letters,
            new_uow,
            *(make_dead_letter("p", n) for n in (1, 2)),
            *(make_dead_letter("p.next", n, "b", is_due=n == 3) for n in (2, 3)),
            make_dead_letter("q", 1),
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

    async def test_cancelled_transaction_adds_all_its_dead_letters_or_none(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        numbers = count(1)

        async def work() -> None:
            async with new_uow() as uow:
                first = make_dead_letter("p", next(numbers))
                await dead_letters.add([first], uow=uow)
                await dead_letters.add(
                    [make_dead_letter("p", next(numbers), state=WAITING)], uow=uow
                )

        async def check() -> None:
            assert len(await dead_letters.list_dead_letters("p", limit=10_000)) % 2 == 0

        assert await cancel_sweep(work, check) > 0

    async def test_cancelled_discard_of_a_dead_letter_takes_full_effect_or_none(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        async def begin() -> None:
            await add(
                dead_letters,
                new_uow,
                make_dead_letter("p", 1),
                make_dead_letter("p", 2, state=WAITING),
            )

        async def work() -> None:
            await dead_letters.discard("p", 1)

        async def check() -> None:
            found = positions_of(await dead_letters.list_dead_letters("p"))
            due = positions_of(await dead_letters.retryable("p"))
            assert (found, due) in (([1, 2], []), ([2], [2]))
            await begin()

        await begin()
        assert await cancel_sweep(work, check) > 0


def make_dead_letter(
    projection: str,
    position: int,
    stream: str = "a",
    *,
    state: DeadLetterState = DeadLetterState.POISON,
    error: str | None = "KeyError('weight')",
    attempts: int = 1,
    event_id: str | None = None,
    event_type: str = "ParcelWeighed",
    **fields: Any,
) -> DeadLetter:
    """Build a dead letter of an event of the parcel ``stream``."""
    return DeadLetter(
        projection=projection,
        position=position,
        stream=StreamId("Parcel", stream),
        event_id=event_id or f"event-{position}",
        event_type=event_type,
        state=state,
        error=error if state is not DeadLetterState.WAITING else None,
        attempts=attempts,
        **fields,
    )


def make_letters_of_three_streams(projection: str) -> list[DeadLetter]:
    """Build the dead letters of two blocked streams, a and b, and of one that is skipped, c."""
    return [
        make_dead_letter(projection, 1, "a"),
        make_dead_letter(projection, 2, "a", state=WAITING),
        make_dead_letter(projection, 3, "b", state=WAITING, is_due=True),
        make_dead_letter(projection, 4, "c", state=SKIPPED),
    ]


async def add(dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork, *letters: DeadLetter) -> None:
    """Add dead letters in a transaction of their own."""
    async with new_uow() as uow:
        await dead_letters.add(letters, uow=uow)


def positions_of(letters: list[DeadLetter]) -> list[int]:
    """Return the position of each dead letter, in order."""
    return [each.position for each in letters]
