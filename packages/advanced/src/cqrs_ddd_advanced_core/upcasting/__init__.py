"""Old events in today's shape."""

from .event_registry import UpcastingEventRegistry, with_upcasting
from .registry import UpcasterRegistry
from .upcaster import EventUpcaster

__all__ = ["EventUpcaster", "UpcasterRegistry", "UpcastingEventRegistry", "with_upcasting"]
