"""In-memory storage of binary objects."""

import asyncio

from ...ports.blob_storage import IBlobStorage
from ...primitives.exceptions import InvalidOperationError


class InMemoryBlobStorage(IBlobStorage):
    """In-memory blob storage, which keeps its own copy of each content."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    async def save(self, key: str, content: bytes, *, content_type: str | None = None) -> None:
        """Store a copy of the content; ``content_type`` is ignored."""
        _ensure_key(key)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise InvalidOperationError(
                f"the content of {key} must be bytes, got {type(content).__name__}; encode it first"
            )
        await asyncio.sleep(0)
        self._contents[key] = bytes(content)

    async def load(self, key: str) -> bytes | None:
        """Return the content, or None if the key does not exist."""
        _ensure_key(key)
        await asyncio.sleep(0)
        return self._contents.get(key)

    async def delete(self, key: str) -> None:
        """Delete the content, if there is any."""
        _ensure_key(key)
        await asyncio.sleep(0)
        self._contents.pop(key, None)


def _ensure_key(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise InvalidOperationError(f"a blob key must be a non-empty text, got {key!r}")
