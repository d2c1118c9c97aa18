"""Loads in progress: one caller loads a value that the cache lacks, and others await it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from ...ports.unit_of_work import UnitOfWork
from ...primitives.shielding import run_to_completion
from .fail_open_cache import FailOpenCache

PAUSES = (0.01, 0.02, 0.04, 0.08, *[0.1] * 8)
"""Seconds between two looks for a value that another process loads; about 1 s in all."""

Load = Callable[[list[Any]], Awaitable[list[Any]]]
"""Function that returns the existing values of the ids, in any order."""
IdOf = Callable[[Any], object]
"""Function from a value to its id."""


class CacheCodec(Protocol):
    """Conversion of the values of a type to their state in the cache, and back."""

    def key(self, value_id: object) -> str: ...

    def encode(self, value: Any) -> Any | None:
        """Return the state; None for a value that would come back changed."""
        ...

    def decode(self, state: Any) -> Any | None:
        """Return a new value; None for a state that is not of this type."""
        ...


@dataclass(frozen=True)
class LoadResult:
    """State that a load found; None if the value does not exist.

    ``is_cached`` is true if nothing was invalidated meanwhile; ``began`` orders loads and callers.
    """

    state: Any
    is_cached: bool
    began: int


@dataclass(frozen=True)
class LoadFailed:
    """End of a load of some keys that failed or was cancelled."""

    error: Exception | None = None
    traceback: TracebackType | None = None
    keys: frozenset[str] = frozenset()

    def raise_for(self, asked: Set[str]) -> None:
        """Raise the error, unless the load included a key that was not asked for."""
        if self.error is not None and self.keys <= asked:
            # The same traceback each time, or it would grow with each caller that gets the error.
            raise self.error.with_traceback(self.traceback)


Flight = asyncio.Future[LoadResult | LoadFailed | None]
"""Result is None for a value that only the loading caller can have."""


class Leader:
    """Load on behalf of all callers of this process, unless another process is loading already.

    ``flights`` are the loads in progress by key; ``ticks`` orders loads and callers.
    """

    def __init__(
        self,
        cache: FailOpenCache,
        codec: CacheCodec,
        ids: list[Any],
        load: Load,
        id_of: IdOf | None,
        *,
        flights: dict[str, Flight],
        ticks: Iterator[int],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._cache = cache
        self._codec = codec
        self._load = load
        self._id_of = id_of
        self._keys = {each: codec.key(each) for each in ids}
        self._own: dict[Any, Flight] = {each: loop.create_future() for each in ids}
        self._flights = flights
        self._flights.update({self._keys[each]: flight for each, flight in self._own.items()})
        self._ticks = ticks
        self._found: list[Any] = []

    async def load(self) -> list[Any]:
        """Return the existing values, in no order."""
        try:
            theirs = await self._load_free(list(self._keys))
            for pause in PAUSES:
                if not theirs:
                    break
                await asyncio.sleep(pause)
                theirs = await self._find_absent(theirs)
                theirs = await self._load_free(theirs, is_again=True)
            # A process that takes so long was killed or is slow; this one must not fail for it.
            await self._load_all(theirs, {})
            return self._found
        finally:
            for each, flight in self._own.items():
                if not flight.done():
                    self._land(each, LoadFailed())
            self._own.clear()  # An error would keep itself alive by its traceback.

    async def _load_free(self, ids: list[Any], *, is_again: bool = False) -> list[Any]:
        """Load the free ids, and return those that another process is loading."""
        if not ids:
            return ids
        # Until the cache has answered, any of the leases may be granted.
        held: Collection[str] = [self._keys[each] for each in ids]
        try:
            leases = await self._cache.lease([self._keys[each] for each in ids])
            held = [key for key, lease in leases.items() if lease]
            free = [each for each in ids if self._keys[each] in leases]
            if is_again:
                # A key may be free because its value has been filled since the last look.
                free = await self._find_absent(free)
        except asyncio.CancelledError as error:
            await self._release(held, error)
            raise
        await self._load_all(free, leases)
        return [each for each in ids if self._keys[each] not in leases]

    async def _find_absent(self, ids: list[Any]) -> list[Any]:
        """Return the ids that the cache still lacks; the other flights end."""
        if not ids:
            return ids
        states = await self._cache.read([self._keys[each] for each in ids])
        absent = []
        for each in ids:
            state = states.get(self._keys[each])
            value = self._codec.decode(state)
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
            states = self._encode(ids, loaded)
            made = {self._keys[each]: state for each, state in states.items() if state is not None}
            cached = await self._cache.fill(made, leases)
            # Values that do not exist or cannot be cached: others need not wait for them.
            unused = list(held - made.keys())
            if unused:
                await self._cache.drop(unused)
        except (Exception, asyncio.CancelledError) as error:
            # Before the flights end, or the next load would wait for the lease.
            await self._release(held, error)
            if isinstance(error, Exception):
                self._fail(ids, error)
            raise
        self._found += loaded
        for each in ids:
            is_cached = self._keys[each] in cached
            self._land(each, LoadResult(states[each], is_cached, began) if each in states else None)

    def _encode(self, ids: list[Any], loaded: list[Any]) -> dict[Any, Any | None]:
        """Return states by id, None for a missing value; uncertain ids are left out."""
        by_id: dict[str, list[Any]] = {}
        for value in loaded:
            own = ids[0] if self._id_of is None else self._id_of(value)
            by_id.setdefault(str(own), []).append(value)
        # An id that was not requested may be a missing one spelled differently, so no value is
        # taken to be missing then.
        is_clear = by_id.keys() <= {str(each) for each in ids}
        states: dict[Any, Any | None] = {}
        for each in ids:
            values = by_id.get(str(each), [])
            if len(values) == 1 and (state := self._codec.encode(values[0])) is not None:
                states[each] = state
            elif not values and is_clear:
                states[each] = None
        return states

    async def _release(self, keys: Collection[str], error: BaseException) -> None:
        """Release the leases, or other processes would wait for a load that has failed."""
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
        # Later callers read the cache, which other processes invalidate.
        self._leave(each)
        self._own[each].set_result(landed)

    def _leave(self, each: Any) -> None:
        if self._flights.get(self._keys[each]) is self._own[each]:
            del self._flights[self._keys[each]]
