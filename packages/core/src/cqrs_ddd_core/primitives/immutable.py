"""Base class of messages, events and value objects, which are immutable."""

from typing import TYPE_CHECKING, Any

import pydantic

from .exceptions import ImmutableObjectError

if not TYPE_CHECKING:
    FrozenMetaclass = type(pydantic.BaseModel)
else:
    # Type checkers read from a metaclass only that subclasses of a frozen class are frozen, too.
    from pydantic._internal._model_construction import ModelMetaclass
    from typing_extensions import dataclass_transform

    @dataclass_transform(
        frozen_default=True,
        kw_only_default=True,
        field_specifiers=(pydantic.Field, pydantic.PrivateAttr),
    )
    class FrozenMetaclass(ModelMetaclass):
        """Metaclass of models that are frozen unless they declare otherwise."""


class ImmutableModel(pydantic.BaseModel, metaclass=FrozenMetaclass):
    """Frozen model without NaN and infinity, which JSON does not have.

    Only the fields are frozen, so prefer tuples and value objects to lists and dicts in them.
    """

    model_config = pydantic.ConfigDict(frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    if not TYPE_CHECKING:  # With these methods, checkers would accept any attribute.

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                raise ImmutableObjectError.unchangeable(type(self).__name__, name)
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if not name.startswith("_"):
                raise ImmutableObjectError.unchangeable(type(self).__name__, name)
            super().__delattr__(name)
