"""Reads by id from a cache, where missing values are loaded and cached."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from typing import Any

from .fail_open_cache import FailOpenCache
from .single_flight import CacheCodec, Flight, IdOf, Leader, Load, LoadFailed

__all__ = ["CacheCodec", "IdOf", "Load", "ReadThrough"]


class ReadThrough:
    """Reads with one load at a time for each key, in this process and among those with the cache.

    A caller that arrives during a load reuses its result if the cache accepted the fill (nothing
    was invalidated) or if the load started after the caller arrived; otherwise it waits for the
    next load. If the load fails, the caller gets its error, unless the load included other keys.
    If the load is cancelled, or the caller does not get its error, a waiting caller loads next.
    """

    def __init__(self, cache: FailOpenCache) -> None:
        self._cache = cache
        self._flights: dict[str, Flight] = {}
        self._ticks = count(1)

    async def get_values(
        self,
        codec: CacheCodec,
        ids: Sequence[Any],
        load: Load,
        id_of: IdOf | None,
        *,
        unread: Collection[Any] = (),
        fills: bool = True,
    ) -> list[Any]:
        """Return the existing values in no order; missing ones are loaded in one call.

        ``unread`` are loaded even if the cache has them. Without ``id_of``, several values of one
        call cannot be told apart, so they are not cached.
        """
        keys = {each: codec.key(each) for each in ids if each not in unread}
        states = await self._cache.read(list(keys.values())) if keys else {}
        cached = {each: codec.decode(states.get(key)) for each, key in keys.items()}
        found = {each: value for each, value in cached.items() if value is not None}
        missing = [each for each in ids if each not in found]
        if not missing:
            return list(found.values())
        if id_of is None and len(ids) > 1:
            return await load(list(ids))
        loaded = await (
            self._load_together(codec, missing, load, id_of) if fills else load(missing)
        )
        return [*found.values(), *loaded]

    async def drop(self, keys: Iterable[str]) -> None:
        distinct = list(dict.fromkeys(keys))
        for key in distinct:
            # A caller from now on must not wait for a load that started earlier.
            self._flights.pop(key, None)
        if distinct:
            await self._cache.drop(distinct)

    async def _load_together(
        self, codec: CacheCodec, missing: list[Any], load: Load, id_of: IdOf | None
    ) -> list[Any]:
        came = next(self._ticks)
        asked = {codec.key(each) for each in missing}
        found: list[Any] = []
        alone: list[Any] = []
        while missing:
            flights = {each: self._flights.get(codec.key(each)) for each in missing}
            # Own loads come first: two callers that each lead what the other one needs would wait
            # for ever.
            led = [each for each, flight in flights.items() if flight is None]
            if led:
                found += await self._lead(codec, led, load, id_of)
            missing = []
            for each, flight in flights.items():
                if flight is None:
                    continue
                await asyncio.wait({flight})
                landed = flight.result()
                if isinstance(landed, LoadFailed):
                    landed.raise_for(asked)
                    missing.append(each)  # The first of the waiting callers leads.
                elif landed is None:
                    alone.append(each)
                elif not (landed.is_cached or landed.began > came):
                    missing.append(each)
                elif landed.state is not None:
                    value = codec.decode(landed.state)
                    (alone if value is None else found).append(each if value is None else value)
        return found + await load(alone) if alone else found

    async def _lead(
        self, codec: CacheCodec, ids: list[Any], load: Load, id_of: IdOf | None
    ) -> list[Any]:
        lead = Leader(
            self._cache, codec, ids, load, id_of, flights=self._flights, ticks=self._ticks
        )
        return await lead.load()
