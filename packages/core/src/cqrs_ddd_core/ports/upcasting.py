"""Old stored events in the shape that today's classes expect."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class IEventUpcaster(Protocol):
    """One step: the payload of ``event_type`` from ``source_version`` to the next version."""

    @property
    @abstractmethod
    def event_type(self) -> str: ...

    @property
    @abstractmethod
    def source_version(self) -> int: ...

    @abstractmethod
    def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]: ...
