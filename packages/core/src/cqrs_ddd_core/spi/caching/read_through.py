"""Reads by id from a cache, where missing values are loaded and cached."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from typing import Any

from .fail_open_cache import FailOpenCache
from .single_flight import CacheCodec, Flight, IdOf, Leader, Load, LoadFailed

__all__ = ["CacheCodec", "IdOf", "Load", "ReadThrough"]


class ReadThrough:
    """Reader through a cache, with one load at a time for each key.

    The loads are shared in this process, and with all processes that use the same cache. A caller
    that arrives during a load reuses its result if the cache accepted the fill (nothing was
    invalidated) or if the load started after the caller arrived; otherwise it waits for the next
    load. If the load fails, the caller gets its error, unless the load included other keys. If the
    load is cancelled, or the caller does not get its error, a waiting caller loads next.

    Args:
        cache: cache to read and fill.
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
        """Return the existing values in any order; missing values are loaded in one call.

        Args:
            codec: converts the values to their state in the cache.
            ids: ids of the values.
            load: returns the existing values of some ids.
            id_of: returns the id of a value; without it, the values of several ids are not cached,
                since they cannot be assigned to the ids.
            unread: ids to load even if the cache has their values.
            fills: False to load without filling the cache.
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
        """Invalidate the keys; later callers do not wait for loads that are in progress."""
        distinct = list(dict.fromkeys(keys))
        for key in distinct:
            # Later callers must not wait for a load that started before the invalidation.
            self._flights.pop(key, None)
        if distinct:
            await self._cache.drop(distinct)

    async def _load_together(
        self, codec: CacheCodec, missing: list[Any], load: Load, id_of: IdOf | None
    ) -> list[Any]:
        arrived = next(self._ticks)
        requested = {codec.key(each) for each in missing}
        found: list[Any] = []
        alone: list[Any] = []
        while missing:
            flights = {each: self._flights.get(codec.key(each)) for each in missing}
            # Finish the own loads first: two callers that each load a key that the other one needs
            # would wait for each other forever.
            led = [each for each, flight in flights.items() if flight is None]
            if led:
                found += await self._lead(codec, led, load, id_of)
            missing = []
            for each, flight in flights.items():
                if flight is None:
                    continue
                await asyncio.wait({flight})
                result = flight.result()
                if isinstance(result, LoadFailed):
                    result.raise_for(requested)
                    missing.append(each)  # The first waiting caller loads next.
                elif result is None:
                    alone.append(each)
                elif not (result.is_cached or result.began > arrived):
                    missing.append(each)
                elif result.state is not None:
                    value = codec.decode(result.state)
                    (alone if value is None else found).append(each if value is None else value)
        return found + await load(alone) if alone else found

    async def _lead(
        self, codec: CacheCodec, ids: list[Any], load: Load, id_of: IdOf | None
    ) -> list[Any]:
        lead = Leader(
            self._cache, codec, ids, load, id_of, flights=self._flights, ticks=self._ticks
        )
        return await lead.load()
