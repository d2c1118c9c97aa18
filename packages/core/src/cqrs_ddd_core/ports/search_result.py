"""What a search found, at once or piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from typing import Any, Generic, TypeVar

from ..primitives.exceptions import InvalidOperationError

__all__ = ["SearchResult"]

T = TypeVar("T")


class SearchResult(Generic[T]):
    """Await it for a list, or iterate over ``stream()``; the search runs only then.

    Args:
        fetch: runs the search and answers all of it.
        stream: runs the search and yields it, holding at most the given number at a time.
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
        """A result whose items are in memory already."""
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
        """Raises ``InvalidOperationError`` for a batch size below 1."""
        if batch_size < 1:
            raise InvalidOperationError(f"batch_size must be at least 1, got {batch_size}")
        return self._stream(batch_size)
