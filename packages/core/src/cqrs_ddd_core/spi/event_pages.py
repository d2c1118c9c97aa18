"""Stream of the events of an event store, page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable

from ..context import bind_request
from ..ports.event_store import StoredEvent


def stream_pages(
    read: Callable[[int, int], Awaitable[list[StoredEvent]]], position: int, batch_size: int
) -> AsyncIterator[StoredEvent]:
    """Yield the events of the pages that ``read`` returns for a position and a size.

    All pages are read for the tenant of the request that called this function.
    """
    return _stream(bind_request(read), position, batch_size)


async def _stream(
    read: Callable[[int, int], Awaitable[list[StoredEvent]]], position: int, batch_size: int
) -> AsyncIterator[StoredEvent]:
    while batch := await read(position, batch_size):
        for event in batch:
            yield event
        position = batch[-1].position or 0
