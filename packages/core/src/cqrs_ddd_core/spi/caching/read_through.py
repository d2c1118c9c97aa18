"""Values by id from a cache, and from where they come from what is missing there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from typing import Any

from .fail_open_cache import FailOpenCache
from .single_flight import CacheCodec, Flight, IdOf, Leader, Load, LoadFailed

__all__ = ["CacheCodec", "IdOf", "Load", "ReadThrough"]


class ReadThrough:
    """One load at a time for each key in this process, and among those that share the cache.

    Who comes while a load is under way takes what it brings if the cache took it, since then
    nothing was changed meanwhile, or if it began after he came; else what the next load brings.
    Where that load fails he gets its error, unless it asked for what he has not asked for too.
    Where it is cancelled, or he does not get its error, one of those who wait loads next.
    """

    def __init__(self, cache: FailOpenCache) -> None:
        self._cache = cache
        self._flights: dict[str, Flight] = {}
        self._ticks = count(1)

    async def values(
        self,
        form: CacheCodec,
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
        states = await self._cache.read(list(keys.values())) if keys else {}
        cached = {each: form.decode(states.get(key)) for each, key in keys.items()}
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
        if distinct:
            await self._cache.drop(distinct)

    async def _together(
        self, form: CacheCodec, missing: list[Any], load: Load, id_of: IdOf | None
    ) -> list[Any]:
        came = next(self._ticks)
        asked = {form.key(each) for each in missing}
        found: list[Any] = []
        alone: list[Any] = []
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
                landed = flight.result()
                if isinstance(landed, LoadFailed):
                    landed.raise_for(asked)
                    missing.append(each)  # The first of those who wait for it leads.
                elif landed is None:
                    alone.append(each)
                elif not (landed.is_cached or landed.began > came):
                    missing.append(each)
                elif landed.state is not None:
                    value = form.decode(landed.state)
                    (alone if value is None else found).append(each if value is None else value)
        return found + await load(alone) if alone else found

    async def _lead(
        self, form: CacheCodec, ids: list[Any], load: Load, id_of: IdOf | None
    ) -> list[Any]:
        lead = Leader(self._cache, form, ids, load, id_of, flights=self._flights, ticks=self._ticks)
        return await lead.values()
