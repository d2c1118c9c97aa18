"""Old events in today's shape."""

from .event_registry import UpcastingEventRegistry
from .registry import UpcasterRegistry
from .upcaster import EventUpcaster

__all__ = ["EventUpcaster", "UpcasterRegistry", "UpcastingEventRegistry"]
