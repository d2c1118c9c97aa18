"""Result of a search, as a list or as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from typing import Any, Generic, TypeVar

from ..primitives.exceptions import InvalidOperationError

__all__ = ["SearchResult"]

T = TypeVar("T")


class SearchResult(Generic[T]):
    """Result of a search, which runs when the result is awaited or iterated over.

    ``await result`` returns a list; ``result.stream()`` yields the items in batches.

    Args:
        fetch: runs the search and returns all items.
        stream: runs the search and yields the items, holding at most the given number in memory.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[list[T]]],
        stream: Callable[[int], AsyncIterator[T]],
    ) -> None:
        self._fetch = fetch
        self._stream = stream

    @classmethod
    def from_items(cls, items: Iterable[T]) -> SearchResult[T]:
        """Create a result from items that are already in memory."""
        found = list(items)

        async def fetch() -> list[T]:
            return list(found)

        async def stream(batch_size: int) -> AsyncIterator[T]:
            for item in found:
                yield item

        return cls(fetch, stream)

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self._fetch().__await__()

    def stream(self, batch_size: int = 100) -> AsyncIterator[T]:
        """Yield the items, holding at most ``batch_size`` of them in memory.

        Raises:
            InvalidOperationError: ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise InvalidOperationError(f"batch_size must be at least 1, got {batch_size}")
        return self._stream(batch_size)
