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
"""Seconds between two reads of a value that another process is loading; about 1 s in total."""

Load = Callable[[list[Any]], Awaitable[list[Any]]]
"""Function that returns the existing values of the ids, in any order."""
IdOf = Callable[[Any], object]
"""Function from a value to its id."""


class CacheCodec(Protocol):
    """Conversion of the values of a type to their state in the cache, and back."""

    def key(self, value_id: object) -> str:
        """Return the cache key of a value."""
        ...

    def encode(self, value: Any) -> Any | None:
        """Return the state, or None for a value that the cache would not restore unchanged."""
        ...

    def decode(self, state: Any) -> Any | None:
        """Return a new value, or None for a state that does not fit the type."""
        ...


@dataclass(frozen=True)
class LoadResult:
    """Result of a load of one key.

    Attributes:
        state: loaded state, or None if the value does not exist.
        is_cached: True if the cache accepted the fill, so that nothing was invalidated during the
            load.
        began: number that orders the starts of loads and the arrivals of callers.
    """

    state: Any
    is_cached: bool
    began: int


@dataclass(frozen=True)
class LoadFailed:
    """End of a load of some keys that failed or was cancelled.

    Attributes:
        error: error of the load, or None if it was cancelled.
        traceback: traceback of the error.
        keys: keys of the load.
    """

    error: Exception | None = None
    traceback: TracebackType | None = None
    keys: frozenset[str] = frozenset()

    def raise_for(self, requested: Set[str]) -> None:
        """Raise the error, unless the load included a key that was not requested."""
        if self.error is not None and self.keys <= requested:
            # Reset the traceback, or it would grow with each caller that gets the error.
            raise self.error.with_traceback(self.traceback)


Flight = asyncio.Future[LoadResult | LoadFailed | None]
"""Load in progress; its result is None for a value that only the loading caller gets."""


class Leader:
    """Caller that loads for all callers of this process, unless another process is loading.

    Args:
        cache: cache to fill.
        codec: converts the values to their state in the cache.
        ids: ids of the values.
        load: returns the existing values of some ids.
        id_of: returns the id of a value.
        flights: loads in progress by key.
        ticks: counter that orders the starts of loads and the arrivals of callers.
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
        """Return the existing values, in any order."""
        try:
            theirs = await self._load_free(list(self._keys))
            for pause in PAUSES:
                if not theirs:
                    break
                await asyncio.sleep(pause)
                theirs = await self._find_absent(theirs)
                theirs = await self._load_free(theirs, is_again=True)
            # The other process was killed or is slow; this one loads the values itself.
            await self._load_all(theirs, {})
            return self._found
        finally:
            for each, flight in self._own.items():
                if not flight.done():
                    self._finish(each, LoadFailed())
            self._own.clear()  # An error and its traceback would keep each other in memory.

    async def _load_free(self, ids: list[Any], *, is_again: bool = False) -> list[Any]:
        """Load the free ids; return the ids that another process is loading."""
        if not ids:
            return ids
        # Until the cache has answered, any of the leases may be granted.
        held: Collection[str] = [self._keys[each] for each in ids]
        try:
            leases = await self._cache.lease([self._keys[each] for each in ids])
            held = [key for key, lease in leases.items() if lease]
            free = [each for each in ids if self._keys[each] in leases]
            if is_again:
                # A key may be free because its value has been filled since the last read.
                free = await self._find_absent(free)
        except asyncio.CancelledError as error:
            await self._release(held, error)
            raise
        await self._load_all(free, leases)
        return [each for each in ids if self._keys[each] not in leases]

    async def _find_absent(self, ids: list[Any]) -> list[Any]:
        """Return the ids that the cache still lacks; the flights of the other ids end."""
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
                self._finish(each, LoadResult(state, is_cached=True, began=next(self._ticks)))
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
            # Values that do not exist or cannot be cached: other processes need not wait for them.
            unused = list(held - made.keys())
            if unused:
                await self._cache.drop(unused)
        except (Exception, asyncio.CancelledError) as error:
            # Release before the flights end, or the next load would wait for the lease.
            await self._release(held, error)
            if isinstance(error, Exception):
                self._fail(ids, error)
            raise
        self._found += loaded
        for each in ids:
            is_cached = self._keys[each] in cached
            self._finish(
                each, LoadResult(states[each], is_cached, began) if each in states else None
            )

    def _encode(self, ids: list[Any], loaded: list[Any]) -> dict[Any, Any | None]:
        """Return the states by id, None for a missing value; leave out ids without clear state."""
        by_id: dict[str, list[Any]] = {}
        for value in loaded:
            own = ids[0] if self._id_of is None else self._id_of(value)
            by_id.setdefault(str(own), []).append(value)
        # An id that was not requested may be a missing id in another spelling, so no value counts
        # as missing then.
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
            self._finish(each, LoadFailed(error, error.__traceback__, keys))

    def _finish(self, each: Any, result: LoadResult | LoadFailed | None) -> None:
        # Later callers have to read the cache, because other processes invalidate it.
        self._leave(each)
        self._own[each].set_result(result)

    def _leave(self, each: Any) -> None:
        if self._flights.get(self._keys[each]) is self._own[each]:
            del self._flights[self._keys[each]]
