"""Values by id from a cache, and from where they come from what is missing there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .tolerant_cache import TolerantCache

Load = Callable[[list[Any]], Awaitable[list[Any]]]
"""The values of these ids that there are, in any order."""
IdOf = Callable[[Any], object]
"""From a value to its id."""


class Form(Protocol):
    """What a type looks like in the cache."""

    def key(self, value_id: object) -> str: ...

    def of(self, value: Any) -> Any | None:
        """None for what would not come back as it is."""
        ...

    def revived(self, state: Any) -> Any | None:
        """A copy of its own; None for what is no such state."""
        ...


@dataclass(frozen=True)
class _Landed:
    """What a flight brought, None for nothing; ``is_cached`` says that no change came between."""

    state: Any
    is_cached: bool


Flight = asyncio.Future[_Landed]


class ReadThrough:
    """One load at a time for each key in this process.

    Who comes while a load is under way takes what it brings if the cache took it, since then
    nothing was changed meanwhile; else what the next load brings, which began after he came.
    """

    def __init__(self, cache: TolerantCache) -> None:
        self._cache = cache
        self._flights: dict[str, Flight] = {}

    async def values(
        self,
        form: Form,
        ids: Sequence[Any],
        load: Load,
        id_of: IdOf | None,
        *,
        unread: Collection[Any] = (),
        fills: bool = True,
    ) -> list[Any]:
        """Those that there are, in no order; what is missing is loaded in one call.

        ``unread`` are loaded whatever the cache has. Without ``id_of``, what is asked for together
        is not cached.
        """
        keys = {each: form.key(each) for each in ids if each not in unread}
        states = await self._cache.read_many(list(keys.values())) if keys else {}
        cached = {each: form.revived(states.get(key)) for each, key in keys.items()}
        found = {each: value for each, value in cached.items() if value is not None}
        missing = [each for each in ids if each not in found]
        if not missing:
            return list(found.values())
        if id_of is None and len(ids) > 1:
            return await load(list(ids))
        loaded = await (self._together(form, missing, load, id_of) if fills else load(missing))
        return [*found.values(), *loaded]

    async def drop(self, keys: Iterable[str]) -> None:
        distinct = list(dict.fromkeys(keys))
        for key in distinct:
            # Who asks from now on does not wait for what began to load before.
            self._flights.pop(key, None)
        await _all(self._cache.drop([key]) for key in distinct)

    async def _together(
        self, form: Form, missing: list[Any], load: Load, id_of: IdOf | None
    ) -> list[Any]:
        found: list[Any] = []
        alone: list[Any] = []
        is_later = False
        while missing:
            flights = {each: self._flights.get(form.key(each)) for each in missing}
            # First our own, or two who have begun what the other needs would wait for ever.
            led = [each for each, flight in flights.items() if flight is None]
            if led:
                found += await self._lead(form, led, load, id_of)
            missing = []
            for each, flight in flights.items():
                if flight is None:
                    continue
                await asyncio.wait({flight})
                landed = None if flight.cancelled() else flight.result()
                if landed is None:
                    alone.append(each)
                elif not (landed.is_cached or is_later):
                    missing.append(each)
                elif landed.state is not None:
                    value = form.revived(landed.state)
                    (alone if value is None else found).append(each if value is None else value)
            is_later = True
        return found + await load(alone) if alone else found

    async def _lead(self, form: Form, ids: list[Any], load: Load, id_of: IdOf | None) -> list[Any]:
        loop = asyncio.get_running_loop()
        flights: dict[Any, Flight] = {each: loop.create_future() for each in ids}
        keys = {each: form.key(each) for each in ids}
        self._flights.update({keys[each]: flight for each, flight in flights.items()})
        try:
            leases = await _all(self._cache.lease(key) for key in keys.values())
            loaded = await load(ids)
            by_id: dict[str, list[Any]] = {}
            for value in loaded:
                own = ids[0] if id_of is None else id_of(value)
                by_id.setdefault(str(own), []).append(value)
            # Where something came under an id that nobody asked for, what is absent may be it.
            is_clear = by_id.keys() <= {str(each) for each in ids}
            await _all(
                self._land(form, keys[each], by_id.get(str(each), []), lease, flights[each])
                for each, lease in zip(ids, leases, strict=True)
                if is_clear or str(each) in by_id
            )
            return loaded
        finally:
            for each, flight in flights.items():
                if self._flights.get(keys[each]) is flight:
                    del self._flights[keys[each]]
                flight.cancel()  # Where it has not landed: who waits for it loads by himself.

    async def _land(
        self, form: Form, key: str, values: list[Any], lease: str | None, flight: Flight
    ) -> None:
        if not values:
            flight.set_result(_Landed(None, is_cached=False))
            return
        state = form.of(values[0]) if len(values) == 1 else None
        if state is not None:
            is_cached = lease is not None and await self._cache.fill(key, state, lease)
            flight.set_result(_Landed(state, is_cached))


async def _all(work: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Their answers, asked for at once."""
    steps = list(work)
    return [await steps[0]] if len(steps) == 1 else await asyncio.gather(*steps)
