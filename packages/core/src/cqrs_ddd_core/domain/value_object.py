"""Things that are what their values are."""

from ..primitives.immutable import ImmutableModel


class ValueObject(ImmutableModel):
    """Equal, and hashed, by value; never changed, only replaced."""
