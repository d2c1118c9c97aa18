"""One step of an event's shape to the next version."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from cqrs_ddd_core.ports.upcasting import IEventUpcaster


class EventUpcaster(IEventUpcaster):
    """Leads from ``source_version`` of ``event_type`` to the version after it.

    ``upcast`` answers the new payload; it gets a copy, so that nothing stored can change.
    """

    event_type: ClassVar[str]
    source_version: ClassVar[int]

    @abstractmethod
    def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]: ...
