"""Result of a search: items as a list or a stream, one item, or their number."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable
from typing import Any, Generic, TypeVar

from ..primitives.exceptions import InvalidOperationError, MultipleResultsError, NotFoundError

__all__ = ["SearchResult"]

T = TypeVar("T")


class SearchResult(Generic[T]):
    """Result of a search, which runs whenever the result is read.

    ``await result`` and ``await result.all()`` return a list; ``async for item in result`` and
    ``result.stream()`` read the items in batches; ``first()``, ``one()`` and ``take()`` read no
    more items than they need.

    Args:
        fetch: runs the search and returns all items.
        stream: runs the search and yields the items, holding at most the given number in memory.
        take: runs the search and returns at most the given number of items, the first in its order;
            by default they are read from ``stream``.
        count: counts the items that the search would find without limit, offset and cursor; by
            default the items of ``stream`` are counted, so a page counts its own items.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[list[T]]],
        stream: Callable[[int], AsyncIterator[T]],
        *,
        take: Callable[[int], Awaitable[list[T]]] | None = None,
        count: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._fetch = fetch
        self._stream = stream
        self._take = take
        self._count = count

    @classmethod
    def from_items(cls, items: Iterable[T]) -> SearchResult[T]:
        """Create a result from items that are already in memory."""
        found = list(items)

        async def fetch() -> list[T]:
            return list(found)

        async def stream(batch_size: int) -> AsyncIterator[T]:
            for item in found:
                yield item

        return cls.from_fetch(fetch, stream)

    @classmethod
    def from_fetch(
        cls, fetch: Callable[[], Awaitable[list[T]]], stream: Callable[[int], AsyncIterator[T]]
    ) -> SearchResult[T]:
        """Create a result without pages that fetches all items even where it needs fewer."""

        async def take(count: int) -> list[T]:
            return (await fetch())[:count]

        async def count() -> int:
            return len(await fetch())

        return cls(fetch, stream, take=take, count=count)

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self._fetch().__await__()

    def __aiter__(self) -> AsyncIterator[T]:
        return self.stream()

    def stream(self, batch_size: int = 100) -> AsyncIterator[T]:
        """Yield the items, holding at most ``batch_size`` of them in memory.

        Raises:
            InvalidOperationError: ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise InvalidOperationError(f"batch_size must be at least 1, got {batch_size}")
        return self._stream(batch_size)

    async def all(self) -> list[T]:
        """Return all items, like ``await result``."""
        return await self._fetch()

    async def take(self, count: int) -> list[T]:
        """Return at most ``count`` items: the first in the order of the search, if it has one.

        Raises:
            InvalidOperationError: ``count`` is below 1.
        """
        if count < 1:
            raise InvalidOperationError(f"take must read at least 1 item, got {count}")
        if self._take is not None:
            return await self._take(count)
        stream, taken = self._stream(count), list[T]()
        try:
            async for item in stream:
                taken.append(item)
                if len(taken) == count:
                    break
        finally:
            # Close at once, and not at garbage collection, since it may hold a cursor.
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
        return taken

    async def first(self) -> T | None:
        """Return the first item, or None if there is none; only this item is read."""
        return next(iter(await self.take(1)), None)

    async def one(self) -> T:
        """Return the only item; at most two items are read.

        Raises:
            NotFoundError: the search finds nothing.
            MultipleResultsError: the search finds more than one item.
        """
        found = await self.take(2)
        if not found:
            raise NotFoundError.no_result()
        if len(found) > 1:
            raise MultipleResultsError.second_result(type(found[0]).__name__)
        return found[0]

    async def count(self) -> int:
        """Return the number of items that the search would find without limit, offset and cursor.

        A database counts them without reading them. ``len(await result)`` is the number of items on
        the page.
        """
        if self._count is not None:
            return await self._count()
        return sum([1 async for _ in self.stream()])
