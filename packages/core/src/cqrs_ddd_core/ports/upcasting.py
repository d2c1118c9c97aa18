"""Port of upcasters, which convert stored events to the current shape of their classes."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class IEventUpcaster(Protocol):
    """Conversion of the payloads of one event type from one schema version to the next."""

    @property
    @abstractmethod
    def event_type(self) -> str:
        """Stored name of the event's class."""
        ...

    @property
    @abstractmethod
    def source_version(self) -> int:
        """Schema version that the upcaster converts from."""
        ...

    @abstractmethod
    def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return the payload in the next schema version."""
        ...
