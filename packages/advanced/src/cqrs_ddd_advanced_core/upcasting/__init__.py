"""Upcasting of stored events to the current schema version of their class."""

from .event_registry import UpcastingEventRegistry, add_upcasting
from .upcasters import EventUpcaster, UpcasterRegistry

__all__ = ["EventUpcaster", "UpcasterRegistry", "UpcastingEventRegistry", "add_upcasting"]
