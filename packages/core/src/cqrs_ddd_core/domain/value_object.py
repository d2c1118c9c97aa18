"""Value objects: two objects with the same values are equal."""

from ..primitives import immutable, named_arguments


class ValueObject(named_arguments.NamedArguments, immutable.ImmutableModel):
    """Object that is equal, and hashed, by its values; it is replaced instead of changed.

    Example:
        ```python
        from cqrs_ddd_core import ValueObject

        class Money(ValueObject):
            cents: int
            currency: str

        assert Money(cents=250, currency="EUR") == Money(cents=250, currency="EUR")
        ```
    """
