"""Value objects: two objects with the same values are equal."""

from ..primitives.immutable import ImmutableModel


class ValueObject(ImmutableModel):
    """Object that is equal, and hashed, by its values; it is replaced instead of changed."""
