"""In-memory store of dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from cqrs_ddd_core.adapters.memory import transaction as transactions
from cqrs_ddd_core.ports import StreamId, UnitOfWork

from ...exceptions import UnknownDeadLetterError
from ...ports.dead_letters import DeadLetter, DeadLetterCount, DeadLetterState, IDeadLetterStore
from ...spi.checks import ensure_page_limit

Place = tuple[str, int]
"""Key of a dead letter: projection and position."""
DeadLetters = dict[Place, DeadLetter]
Step = Callable[[DeadLetters], None]


class InMemoryDeadLetterStore(IDeadLetterStore):
    """Fake of a table of dead letters; requests of operators take effect at once."""

    def __init__(self) -> None:
        self._dead_letters: DeadLetters = {}

    async def add(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Add dead letters at the commit, after the requests of operators until then."""
        given = sorted(dead_letters, key=_place_of)
        async with transactions.join_transaction(uow, "add dead letters", writes=True) as active:
            self._changes(active).add(lambda rows: _add(rows, given))

    async def remove(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Remove processed dead letters at the commit; skip missing dead letters."""
        places = [_place_of(each) for each in dead_letters]
        async with transactions.join_transaction(uow, "remove dead letters", writes=True) as active:
            self._changes(active).add(lambda rows: _remove(rows, places))

    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        """Return the given streams that have failed or waiting dead letters."""
        async with transactions.join_transaction(uow, "read blocked streams") as active:
            blocked = {
                each.stream
                for each in self._changes(active).read().values()
                if each.projection == projection and _blocks(each)
            }
            return blocked & set(streams)

    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        """Return the dead letters to retry, with the changes of this transaction."""
        ensure_page_limit(limit)
        async with transactions.join_transaction(uow, "read retryable dead letters") as active:
            found = self._changes(active).read().values()
        due: list[DeadLetter] = []
        blocked: set[StreamId] = set()
        for each in sorted(found, key=_place_of):
            if each.projection != projection:
                continue
            if each.is_due and each.stream not in blocked:
                due.append(each)
            elif _blocks(each):
                blocked.add(each.stream)
        return due[:limit]

    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Return the committed dead letters, by position."""
        ensure_page_limit(limit)
        await asyncio.sleep(0)
        found = sorted(
            (
                each
                for each in self._dead_letters.values()
                if projection in (None, each.projection) and each.position > after
            ),
            key=lambda each: (each.position, each.projection),
        )
        return [each for each in found if each.position <= found[:limit][-1].position]

    async def count_dead_letters(self) -> Mapping[str, DeadLetterCount]:
        """Count the committed dead letters of each projection."""
        await asyncio.sleep(0)
        found: dict[str, list[DeadLetter]] = {}
        for each in self._dead_letters.values():
            found.setdefault(each.projection, []).append(each)
        return {
            projection: DeadLetterCount(
                dead_letters=len(dead_letters),
                blocked_streams=len({each.stream for each in filter(_blocks, dead_letters)}),
            )
            for projection, dead_letters in found.items()
        }

    async def retry(self, projection: str, position: int) -> None:
        """Request a retry of a dead letter and of its stream, at once."""
        await asyncio.sleep(0)
        found = self._get(projection, position)
        if _blocks(found):
            _make_due(self._dead_letters, filter(_blocks, self._list_stream(found)))
        _make_due(self._dead_letters, [found])

    async def discard(self, projection: str, position: int) -> None:
        """Delete a dead letter, and request a retry of the dead letters that wait behind it."""
        await asyncio.sleep(0)
        found = self._get(projection, position)
        del self._dead_letters[_place_of(found)]
        if found.state is DeadLetterState.POISON:
            _make_due(self._dead_letters, filter(_is_waiting, self._list_stream(found)))

    async def replace(self, projection: str, by: str, *, uow: UnitOfWork) -> None:
        """Move the dead letters of ``by`` to ``projection`` at the commit."""
        async with transactions.join_transaction(
            uow, "replace dead letters", writes=True
        ) as active:
            self._changes(active).add(lambda rows: _replace(rows, projection, by))

    def _changes(self, uow: transactions.InMemoryTransaction) -> _Changes:
        return uow.change_set(self, lambda: _Changes(self._dead_letters))

    def _get(self, projection: str, position: int) -> DeadLetter:
        found = self._dead_letters.get((projection, position))
        if found is None:
            raise UnknownDeadLetterError.not_found(projection, position)
        return found

    def _list_stream(self, dead_letter: DeadLetter) -> list[DeadLetter]:
        return [
            each
            for each in self._dead_letters.values()
            if _stream_key(each) == _stream_key(dead_letter)
        ]


class _Changes(transactions.ChangeSet):
    """Steps of one transaction, repeated at its commit, since operators may have changed rows."""

    def __init__(self, committed: DeadLetters) -> None:
        self._committed = committed
        self._steps: list[Step] = []

    def add(self, step: Step) -> None:
        self._steps.append(step)

    def read(self) -> DeadLetters:
        own = dict(self._committed)
        for step in self._steps:
            step(own)
        return own

    def apply(self) -> None:
        for step in self._steps:
            step(self._committed)


def _place_of(dead_letter: DeadLetter) -> Place:
    return dead_letter.projection, dead_letter.position


def _stream_key(dead_letter: DeadLetter) -> tuple[str, StreamId]:
    return dead_letter.projection, dead_letter.stream


def _blocks(dead_letter: DeadLetter) -> bool:
    return dead_letter.state is not DeadLetterState.SKIPPED


def _is_waiting(dead_letter: DeadLetter) -> bool:
    return dead_letter.state is DeadLetterState.WAITING


def _add(rows: DeadLetters, added: Sequence[DeadLetter]) -> None:
    rows.update((_place_of(each), each) for each in added)
    # An operator may have retried the stream before this transaction added a waiting dead letter.
    blocked = {
        _stream_key(each)
        for each in rows.values()
        if each.state is DeadLetterState.POISON and not each.is_due
    }
    _make_due(rows, [e for e in added if _is_waiting(e) and _stream_key(e) not in blocked])


def _remove(rows: DeadLetters, places: Iterable[Place]) -> None:
    for place in places:
        rows.pop(place, None)


def _make_due(rows: DeadLetters, dead_letters: Iterable[DeadLetter]) -> None:
    for each in list(dead_letters):
        rows[_place_of(each)] = replace(each, is_due=True)


def _replace(rows: DeadLetters, projection: str, by: str) -> None:
    if projection == by:
        return
    _remove(rows, [place for place in rows if place[0] == projection])
    for place in [place for place in rows if place[0] == by]:
        rows[projection, place[1]] = replace(rows.pop(place), projection=projection)
