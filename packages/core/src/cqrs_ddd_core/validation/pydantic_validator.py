"""Validation by a pydantic model."""

from __future__ import annotations

from typing import Any

import pydantic

from ..ports.validation import IValidator, ValidationResult
from ..primitives.exceptions import ValidationError


class PydanticValidator(IValidator):
    """Judges an object by ``model``, or by its own class.

    Also finds what ``model_construct`` and ``model_copy(update=...)`` let through.
    """

    def __init__(self, model: type[pydantic.BaseModel] | None = None) -> None:
        self._model = model

    async def validate(self, obj: Any) -> ValidationResult:
        model = self._model or type(obj)
        if not issubclass(model, pydantic.BaseModel):
            return ValidationResult({"": (f"{model.__name__} is not a pydantic model",)})
        try:
            model.model_validate(_fields_of(obj))
        except pydantic.ValidationError as error:
            return ValidationResult(ValidationError.from_pydantic(model.__name__, error).errors)
        return ValidationResult()


def _fields_of(obj: Any) -> Any:
    # The attributes as they are: dumping would turn nested models into dicts.
    return dict(obj) if isinstance(obj, pydantic.BaseModel) else obj
