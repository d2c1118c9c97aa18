"""The base of everything that must not change after it was made."""

from __future__ import annotations

from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict

from .exceptions import ImmutableObjectError


class ImmutableModel(BaseModel):
    """A frozen model whose numbers are all JSON: no NaN, no infinity.

    Only the fields are frozen: prefer tuples and value objects to lists and dicts inside.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            self._refuse(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if not name.startswith("_"):
            self._refuse(name)
        super().__delattr__(name)

    def _refuse(self, name: str) -> NoReturn:
        raise ImmutableObjectError(
            f"{type(self).__name__}.{name} cannot be changed; "
            f"make a new one, for example with model_copy(update={{{name!r}: ...}})",
            type_name=type(self).__name__,
            field=name,
        )
