"""Port of the storage of large binary objects."""

from abc import abstractmethod
from typing import Protocol, runtime_checkable


@runtime_checkable
class IBlobStorage(Protocol):
    """Storage of bytes by key, written and replaced as a whole.

    Each tenant has its own keys.

    Raises:
        InvalidOperationError: the call is inside ``system_tenant``.
    """

    @abstractmethod
    async def save(self, key: str, content: bytes, *, content_type: str | None = None) -> None:
        """Store the content under the key, in place of earlier content.

        ``content_type`` is the media type, for example ``image/png``.
        """
        ...

    @abstractmethod
    async def load(self, key: str) -> bytes | None:
        """Return the content, or None if the key does not exist."""
        ...

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Delete the content; do nothing if the key does not exist."""
        ...
