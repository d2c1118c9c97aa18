"""Cases that show whether another world answers as memory does."""

from .cases import Cases, Color, Owner, Part, Place

__all__ = ["Cases", "Color", "Owner", "Part", "Place"]
