"""In-memory storage of binary objects."""

import asyncio

from ...ports.blob_storage import IBlobStorage
from ...primitives.exceptions import InvalidOperationError
from ...spi.tenancy import get_row_tenant


class InMemoryBlobStorage(IBlobStorage):
    """In-memory blob storage, which keeps its own copy of each content, by tenant and key."""

    def __init__(self) -> None:
        self._contents: dict[tuple[str, str], bytes] = {}

    async def save(self, key: str, content: bytes, *, content_type: str | None = None) -> None:
        """Store a copy of the content; ``content_type`` is ignored."""
        place = _locate(key)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise InvalidOperationError(
                f"the content of {key} must be bytes, got {type(content).__name__}; encode it first"
            )
        await asyncio.sleep(0)
        self._contents[place] = bytes(content)

    async def load(self, key: str) -> bytes | None:
        """Return the content, or None if the key does not exist."""
        place = _locate(key)
        await asyncio.sleep(0)
        return self._contents.get(place)

    async def delete(self, key: str) -> None:
        """Delete the content, if there is any."""
        place = _locate(key)
        await asyncio.sleep(0)
        self._contents.pop(place, None)


def _locate(key: object) -> tuple[str, str]:
    """Return the tenant of the request and the key."""
    if not isinstance(key, str) or not key:
        raise InvalidOperationError(f"a blob key must be a non-empty text, got {key!r}")
    return get_row_tenant(f"use the blob {key}"), str(key)
