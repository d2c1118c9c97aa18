"""Upcasting of stored events to the current version of their class."""

from .event_registry import UpcastingEventRegistry, with_upcasting
from .upcasters import EventUpcaster, UpcasterRegistry

__all__ = ["EventUpcaster", "UpcasterRegistry", "UpcastingEventRegistry", "with_upcasting"]
