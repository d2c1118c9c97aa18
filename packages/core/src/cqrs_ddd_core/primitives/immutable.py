"""Base class of messages, events and value objects, which are immutable."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from .exceptions import ImmutableObjectError


class ImmutableModel(BaseModel):
    """Frozen model without NaN and infinity, which JSON does not have.

    Only the fields are frozen, so prefer tuples and value objects to lists and dicts in them.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise ImmutableObjectError.unchangeable(type(self).__name__, name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if not name.startswith("_"):
            raise ImmutableObjectError.unchangeable(type(self).__name__, name)
        super().__delattr__(name)
