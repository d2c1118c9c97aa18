"""Binary objects in a dict."""

import asyncio

from ...ports.blob_storage import IBlobStorage
from ...primitives.exceptions import InvalidOperationError


class InMemoryBlobStorage(IBlobStorage):
    """Keeps what it is given as bytes of its own."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    async def save(self, key: str, content: bytes, *, content_type: str | None = None) -> None:
        _ensure_key(key)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise InvalidOperationError(
                f"{key} is saved from bytes, got {type(content).__name__}; encode it first"
            )
        await asyncio.sleep(0)
        self._contents[key] = bytes(content)

    async def load(self, key: str) -> bytes | None:
        _ensure_key(key)
        await asyncio.sleep(0)
        return self._contents.get(key)

    async def delete(self, key: str) -> None:
        _ensure_key(key)
        await asyncio.sleep(0)
        self._contents.pop(key, None)


def _ensure_key(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise InvalidOperationError(f"a blob is kept under a text, got {key!r}")
