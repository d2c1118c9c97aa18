"""In-memory store of dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from cqrs_ddd_core.adapters.memory import transaction as transactions
from cqrs_ddd_core.ports import StreamId, UnitOfWork
from cqrs_ddd_core.spi.tenancy import ensure_visible, get_row_tenant, get_visible_tenant

from ...exceptions import UnknownDeadLetterError
from ...ports.dead_letters import DeadLetter, DeadLetterCount, DeadLetterState, IDeadLetterStore
from ...spi.checks import ensure_page_limit

Place = tuple[str, int]
"""Key of a dead letter: projection and position."""
Stream = tuple[str, str, StreamId]
"""Projection, tenant and stream."""
DeadLetters = dict[Place, DeadLetter]
Step = Callable[[DeadLetters], None]


class InMemoryDeadLetterStore(IDeadLetterStore):
    """Fake of a table of dead letters; requests of operators take effect at once."""

    def __init__(self) -> None:
        self._dead_letters: DeadLetters = {}

    async def add(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Add dead letters at the commit, after the requests of operators until then."""
        given = sorted(dead_letters, key=_place_of)
        for each in given:
            ensure_visible(each.tenant_id, f"the dead letter at position {each.position}")
        async with transactions.join_transaction(uow, "add dead letters", writes=True) as active:
            self._changes(active).add(lambda rows: _add(rows, given))

    async def remove(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Remove processed dead letters at the commit; skip missing dead letters."""
        places, tenant_id = [_place_of(each) for each in dead_letters], get_visible_tenant()
        async with transactions.join_transaction(uow, "remove dead letters", writes=True) as active:
            self._changes(active).add(lambda rows: _remove(rows, places, tenant_id))

    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        """Return the given streams that have failed or waiting dead letters."""
        place = projection, get_row_tenant("read blocked streams")
        async with transactions.join_transaction(uow, "read blocked streams") as active:
            blocked = {
                each.stream
                for each in self._changes(active).read().values()
                if (each.projection, each.tenant_id) == place and _blocks(each)
            }
            return blocked & set(streams)

    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        """Return the dead letters to retry, with the changes of this transaction."""
        ensure_page_limit(limit)
        tenant_id = get_visible_tenant()
        async with transactions.join_transaction(uow, "read retryable dead letters") as active:
            found = _select(self._changes(active).read(), tenant_id)
        due: list[DeadLetter] = []
        blocked: set[Stream] = set()
        for each in sorted(found, key=_place_of):
            if each.projection != projection:
                continue
            if each.is_due and _stream_key(each) not in blocked:
                due.append(each)
            elif _blocks(each):
                blocked.add(_stream_key(each))
        return due[:limit]

    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Return the committed dead letters, by position."""
        ensure_page_limit(limit)
        tenant_id = get_visible_tenant()
        await asyncio.sleep(0)
        found = sorted(
            (
                each
                for each in _select(self._dead_letters, tenant_id)
                if projection in (None, each.projection) and each.position > after
            ),
            key=lambda each: (each.position, each.projection),
        )
        return [each for each in found if each.position <= found[:limit][-1].position]

    async def count_dead_letters(self) -> Mapping[str, DeadLetterCount]:
        """Count the committed dead letters of each projection."""
        tenant_id = get_visible_tenant()
        await asyncio.sleep(0)
        found: dict[str, list[DeadLetter]] = {}
        for each in _select(self._dead_letters, tenant_id):
            found.setdefault(each.projection, []).append(each)
        return {
            projection: DeadLetterCount(
                dead_letters=len(dead_letters),
                blocked_streams=len(set(map(_stream_key, filter(_blocks, dead_letters)))),
            )
            for projection, dead_letters in found.items()
        }

    async def retry(self, projection: str, position: int) -> None:
        """Request a retry of a dead letter and of its stream, at once."""
        tenant_id = get_visible_tenant()
        await asyncio.sleep(0)
        found = self._get(projection, position, tenant_id)
        if _blocks(found):
            _make_due(self._dead_letters, filter(_blocks, self._list_stream(found)))
        _make_due(self._dead_letters, [found])

    async def discard(self, projection: str, position: int) -> None:
        """Delete a dead letter, and request a retry of the dead letters that wait behind it."""
        tenant_id = get_visible_tenant()
        await asyncio.sleep(0)
        found = self._get(projection, position, tenant_id)
        del self._dead_letters[_place_of(found)]
        if found.state is DeadLetterState.POISON:
            _make_due(self._dead_letters, filter(_is_waiting, self._list_stream(found)))

    async def replace(self, projection: str, by: str, *, uow: UnitOfWork) -> None:
        """Move the dead letters of ``by`` to ``projection`` at the commit."""
        tenant_id = get_visible_tenant()
        async with transactions.join_transaction(
            uow, "replace dead letters", writes=True
        ) as active:
            self._changes(active).add(lambda rows: _replace(rows, projection, by, tenant_id))

    def _changes(self, uow: transactions.InMemoryTransaction) -> _Changes:
        return uow.change_set(self, lambda: _Changes(self._dead_letters))

    def _get(self, projection: str, position: int, tenant_id: str | None) -> DeadLetter:
        found = self._dead_letters.get((projection, position))
        if found is None or tenant_id not in (None, found.tenant_id):
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


def _stream_key(dead_letter: DeadLetter) -> Stream:
    return dead_letter.projection, dead_letter.tenant_id, dead_letter.stream


def _select(rows: DeadLetters, tenant_id: str | None) -> list[DeadLetter]:
    """Return the dead letters of a tenant, or of all tenants for None."""
    return [each for each in rows.values() if tenant_id in (None, each.tenant_id)]


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


def _remove(rows: DeadLetters, places: Iterable[Place], tenant_id: str | None) -> None:
    for place in places:
        if place in rows and tenant_id in (None, rows[place].tenant_id):
            del rows[place]


def _make_due(rows: DeadLetters, dead_letters: Iterable[DeadLetter]) -> None:
    for each in list(dead_letters):
        rows[_place_of(each)] = replace(each, is_due=True)


def _replace(rows: DeadLetters, projection: str, by: str, tenant_id: str | None) -> None:
    if projection == by:
        return
    own = _select(rows, tenant_id)
    _remove(rows, [_place_of(each) for each in own if each.projection == projection], tenant_id)
    for each in own:
        if each.projection == by:
            del rows[_place_of(each)]
            rows[projection, each.position] = replace(each, projection=projection)
