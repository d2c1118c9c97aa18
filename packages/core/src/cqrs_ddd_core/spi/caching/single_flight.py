"""Loads under way: what is missing in a cache is loaded by one, and awaited by the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from ...ports.unit_of_work import UnitOfWork
from ...primitives.shielding import run_to_completion
from .fail_open_cache import FailOpenCache

PAUSES = (0.01, 0.02, 0.04, 0.08, *[0.1] * 8)
"""Seconds between two looks for what another process loads; about 1 s in all."""

Load = Callable[[list[Any]], Awaitable[list[Any]]]
"""The values of these ids that there are, in any order."""
IdOf = Callable[[Any], object]
"""From a value to its id."""


class CacheCodec(Protocol):
    """What a type looks like in the cache."""

    def key(self, value_id: object) -> str: ...

    def encode(self, value: Any) -> Any | None:
        """None for what would not come back as it is."""
        ...

    def decode(self, state: Any) -> Any | None:
        """A copy of its own; None for what is no such state."""
        ...


@dataclass(frozen=True)
class LoadResult:
    """What a flight brought, None for nothing.

    ``is_cached`` says that no change came between, ``began`` when the load did.
    """

    state: Any
    is_cached: bool
    began: int


@dataclass(frozen=True)
class LoadFailed:
    """A flight that brought nothing: its load of these keys has failed, or it was given up."""

    error: Exception | None = None
    traceback: TracebackType | None = None
    keys: frozenset[str] = frozenset()

    def raise_for(self, asked: Set[str]) -> None:
        """The error, unless what else was loaded may be why."""
        if self.error is not None and self.keys <= asked:
            # As a future does it, or the traceback would grow with each who gets it.
            raise self.error.with_traceback(self.traceback)


Flight = asyncio.Future[LoadResult | LoadFailed | None]
"""None for what only its load can hand out."""


class Leader:
    """One load for everybody in this process, unless another process is at it already.

    ``flights`` are those under way by key, ``ticks`` what orders loads and those who come.
    """

    def __init__(
        self,
        cache: FailOpenCache,
        form: CacheCodec,
        ids: list[Any],
        load: Load,
        id_of: IdOf | None,
        *,
        flights: dict[str, Flight],
        ticks: Iterator[int],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._cache = cache
        self._form = form
        self._load = load
        self._id_of = id_of
        self._keys = {each: form.key(each) for each in ids}
        self._own: dict[Any, Flight] = {each: loop.create_future() for each in ids}
        self._flights = flights
        self._flights.update({self._keys[each]: flight for each, flight in self._own.items()})
        self._ticks = ticks
        self._found: list[Any] = []

    async def values(self) -> list[Any]:
        """Those that there are, in no order."""
        try:
            theirs = await self._load_free(list(self._keys))
            for pause in PAUSES:
                if not theirs:
                    break
                await asyncio.sleep(pause)
                theirs = await self._absent(theirs)
                theirs = await self._load_free(theirs, is_again=True)
            # Who has been at it so long was killed, or is slow: no reason for us to fail.
            await self._load_all(theirs, {})
            return self._found
        finally:
            for each, flight in self._own.items():
                if not flight.done():
                    self._land(each, LoadFailed())
            self._own.clear()  # Or an error would keep itself alive, by way of its traceback.

    async def _load_free(self, ids: list[Any], *, is_again: bool = False) -> list[Any]:
        """Answers those that another process is loading."""
        if not ids:
            return ids
        # Whichever of them are granted, as long as there is no answer.
        held: Collection[str] = [self._keys[each] for each in ids]
        try:
            leases = await self._cache.lease([self._keys[each] for each in ids])
            held = [key for key, lease in leases.items() if lease]
            free = [each for each in ids if self._keys[each] in leases]
            if is_again:
                # It may be free because its value came since the last look.
                free = await self._absent(free)
        except asyncio.CancelledError as error:
            await self._give_back(held, error)
            raise
        await self._load_all(free, leases)
        return [each for each in ids if self._keys[each] not in leases]

    async def _absent(self, ids: list[Any]) -> list[Any]:
        """Answers those that are not in the cache by now; the others land."""
        if not ids:
            return ids
        states = await self._cache.read([self._keys[each] for each in ids])
        absent = []
        for each in ids:
            state = states.get(self._keys[each])
            value = self._form.decode(state)
            if value is None:
                absent.append(each)
            else:
                self._found.append(value)
                self._land(each, LoadResult(state, is_cached=True, began=next(self._ticks)))
        return absent

    async def _load_all(self, ids: list[Any], leases: Mapping[str, str]) -> None:
        if not ids:
            return
        began = next(self._ticks)
        held = {key for each in ids if leases.get(key := self._keys[each])}
        try:
            loaded = await self._load(ids)
            states = self._states(ids, loaded)
            made = {self._keys[each]: state for each, state in states.items() if state is not None}
            cached = await self._cache.fill(made, leases)
            # What is not there, or cannot be cached: others need not wait for it.
            unused = list(held - made.keys())
            if unused:
                await self._cache.drop(unused)
        except (Exception, asyncio.CancelledError) as error:
            # First, or who loads next would wait for the lease.
            await self._give_back(held, error)
            if isinstance(error, Exception):
                self._fail(ids, error)
            raise
        self._found += loaded
        for each in ids:
            is_cached = self._keys[each] in cached
            self._land(each, LoadResult(states[each], is_cached, began) if each in states else None)

    def _states(self, ids: list[Any], loaded: list[Any]) -> dict[Any, Any | None]:
        """None for what is not there; those are left out of which nothing can be told."""
        by_id: dict[str, list[Any]] = {}
        for value in loaded:
            own = ids[0] if self._id_of is None else self._id_of(value)
            by_id.setdefault(str(own), []).append(value)
        # Where something came under an id that nobody asked for, what is absent may be it.
        is_clear = by_id.keys() <= {str(each) for each in ids}
        states: dict[Any, Any | None] = {}
        for each in ids:
            values = by_id.get(str(each), [])
            if len(values) == 1 and (state := self._form.encode(values[0])) is not None:
                states[each] = state
            elif not values and is_clear:
                states[each] = None
        return states

    async def _give_back(self, keys: Collection[str], error: BaseException) -> None:
        """Or others would wait for a load that has failed."""
        if not keys:
            return
        interruption = error if isinstance(error, asyncio.CancelledError) else None
        ended = await run_to_completion(
            self._cache.drop(list(keys)), grace=UnitOfWork.hook_timeout, interruption=interruption
        )
        if ended.interruption is not None:
            raise ended.interruption

    def _fail(self, ids: list[Any], error: Exception) -> None:
        keys = frozenset(self._keys[each] for each in ids)
        for each in ids:
            self._land(each, LoadFailed(error, error.__traceback__, keys))

    def _land(self, each: Any, landed: LoadResult | LoadFailed | None) -> None:
        # Who comes from now on asks the cache, which hears of changes elsewhere.
        self._leave(each)
        self._own[each].set_result(landed)

    def _leave(self, each: Any) -> None:
        if self._flights.get(self._keys[each]) is self._own[each]:
            del self._flights[self._keys[each]]
