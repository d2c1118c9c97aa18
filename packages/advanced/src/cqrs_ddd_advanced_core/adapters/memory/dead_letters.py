"""Dead letters in a dict, with transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from cqrs_ddd_core.adapters.memory.transaction import (
    ChangeSet,
    InMemoryTransaction,
    join_transaction,
)
from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork

from ...exceptions import UnknownDeadLetterError
from ...ports.dead_letters import DeadLetter, DeadLetterState, IDeadLetterStore
from ...spi.checks import ensure_letter_limit

_Letters = dict[tuple[str, int], DeadLetter]
"""By projection and position."""
_Step = Callable[[_Letters], None]


class InMemoryDeadLetterStore(IDeadLetterStore):
    """The fake of a table of dead letters. An operator's change is made at once."""

    def __init__(self) -> None:
        self._letters: _Letters = {}

    async def add(self, letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        given = sorted(letters, key=_place)
        async with join_transaction(uow, "add dead letters") as active:
            self._changes(active).then(lambda kept: _add(kept, given))

    async def remove(self, letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        places = [_place(letter) for letter in letters]
        async with join_transaction(uow, "remove dead letters") as active:
            self._changes(active).then(lambda kept: _remove(kept, places))

    async def blocked_streams(
        self,
        projection: str,
        streams: Collection[StreamId],
        *,
        uow: UnitOfWork | None = None,
    ) -> set[StreamId]:
        async with join_transaction(uow, "read held streams") as active:
            held = {
                letter.stream
                for letter in self._changes(active).letters().values()
                if letter.projection == projection and _is_held(letter)
            }
            return held & set(streams)

    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        ensure_letter_limit(limit)
        async with join_transaction(uow, "read due dead letters") as active:
            letters = sorted(self._changes(active).letters().values(), key=_place)
        due: list[DeadLetter] = []
        blocked: set[StreamId] = set()
        for letter in letters:
            if letter.projection != projection:
                continue
            if letter.is_due and letter.stream not in blocked:
                due.append(letter)
            elif _is_held(letter):
                blocked.add(letter.stream)
        return due[:limit]

    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        ensure_letter_limit(limit)
        await asyncio.sleep(0)
        found = sorted(
            (
                letter
                for letter in self._letters.values()
                if projection in (None, letter.projection) and letter.position > after
            ),
            key=lambda letter: (letter.position, letter.projection),
        )
        return [each for each in found if each.position <= found[:limit][-1].position]

    async def retry(self, projection: str, position: int) -> None:
        await asyncio.sleep(0)
        letter = self._letter(projection, position)
        if _is_held(letter):
            _make_due(self._letters, (each for each in self._behind(letter) if _is_held(each)))
        _make_due(self._letters, [letter])

    async def discard(self, projection: str, position: int) -> None:
        await asyncio.sleep(0)
        letter = self._letter(projection, position)
        del self._letters[_place(letter)]
        if letter.state is DeadLetterState.POISON:
            waiting = (e for e in self._behind(letter) if e.state is DeadLetterState.WAITING)
            _make_due(self._letters, waiting)

    async def replace(self, projection: str, by: str, *, uow: UnitOfWork) -> None:
        async with join_transaction(uow, "replace dead letters") as active:
            self._changes(active).then(lambda kept: _replace(kept, projection, by))

    def _changes(self, uow: InMemoryTransaction) -> _Changes:
        return uow.change_set(self, lambda: _Changes(self._letters))

    def _letter(self, projection: str, position: int) -> DeadLetter:
        letter = self._letters.get((projection, position))
        if letter is None:
            raise UnknownDeadLetterError.not_found(projection, position)
        return letter

    def _behind(self, letter: DeadLetter) -> list[DeadLetter]:
        """All of its stream."""
        place = (letter.projection, letter.stream)
        return [each for each in self._letters.values() if (each.projection, each.stream) == place]


class _Changes(ChangeSet):
    """Steps of one unit of work; others may have changed the letters when it commits."""

    def __init__(self, kept: _Letters) -> None:
        self._kept = kept
        self._steps: list[_Step] = []

    def then(self, step: _Step) -> None:
        self._steps.append(step)

    def letters(self) -> _Letters:
        seen = dict(self._kept)
        for step in self._steps:
            step(seen)
        return seen

    def check(self) -> None:
        pass

    def apply(self) -> None:
        for step in self._steps:
            step(self._kept)

    def discard(self) -> None:
        self._steps.clear()


def _place(letter: DeadLetter) -> tuple[str, int]:
    return letter.projection, letter.position


def _is_held(letter: DeadLetter) -> bool:
    return letter.state is not DeadLetterState.SKIPPED


def _add(kept: _Letters, letters: Sequence[DeadLetter]) -> None:
    for letter in letters:
        kept[_place(letter)] = letter
    # An operator may have asked for the others of the stream before this one came.
    holding = {
        (each.projection, each.stream)
        for each in kept.values()
        if each.state is DeadLetterState.POISON and not each.is_due
    }
    _make_due(
        kept,
        [
            letter
            for letter in letters
            if letter.state is DeadLetterState.WAITING
            and (letter.projection, letter.stream) not in holding
        ],
    )


def _remove(kept: _Letters, places: Iterable[tuple[str, int]]) -> None:
    for place in places:
        kept.pop(place, None)


def _make_due(kept: _Letters, letters: Iterable[DeadLetter]) -> None:
    for letter in list(letters):
        kept[_place(letter)] = replace(letter, is_due=True)


def _replace(kept: _Letters, projection: str, by: str) -> None:
    if projection == by:
        return
    _remove(kept, [place for place in kept if place[0] == projection])
    for place in [place for place in kept if place[0] == by]:
        letter = replace(kept.pop(place), projection=projection)
        kept[_place(letter)] = letter
