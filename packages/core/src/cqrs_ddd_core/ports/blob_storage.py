"""Large binary objects."""

from abc import abstractmethod
from typing import Protocol, runtime_checkable


@runtime_checkable
class IBlobStorage(Protocol):
    """Bytes under a key, written and replaced as a whole."""

    @abstractmethod
    async def save(self, key: str, content: bytes, *, content_type: str | None = None) -> None: ...

    @abstractmethod
    async def load(self, key: str) -> bytes | None: ...

    @abstractmethod
    async def delete(self, key: str) -> None:
        """An absent key is fine."""
        ...
