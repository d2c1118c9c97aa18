"""Test kit: random cases that show whether a backend selects the same objects as memory."""

from .cases import Cases, Color, Owner, Part, Place

__all__ = ["Cases", "Color", "Owner", "Part", "Place"]
