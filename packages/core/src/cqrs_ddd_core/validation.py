"""Validators that combine other validators or check pydantic models."""

import pydantic

from .ports.validation import IValidator, ValidationResult
from .primitives.exceptions import ValidationError

__all__ = ["CompositeValidator", "PydanticValidator"]


class CompositeValidator(IValidator):
    """Validator that returns the errors of several validators.

    Args:
        validators: validators that each object has to pass.
    """

    def __init__(self, *validators: IValidator) -> None:
        self._validators = validators

    async def validate(self, obj: object) -> ValidationResult:
        """Return the problems that any of the validators found."""
        errors: dict[str, tuple[str, ...]] = {}
        for validator in self._validators:
            for field, texts in (await validator.validate(obj)).errors.items():
                errors[field] = errors.get(field, ()) + tuple(texts)
        return ValidationResult(errors)


class PydanticValidator(IValidator):
    """Validator that validates an object by a pydantic model.

    It also finds invalid values that ``model_construct`` and ``model_copy(update=...)`` accept.

    Args:
        model: model to validate by, by default the class of the object.
    """

    def __init__(self, model: type[pydantic.BaseModel] | None = None) -> None:
        self._model = model

    async def validate(self, obj: object) -> ValidationResult:
        """Return the problems that pydantic finds, or one problem if the class is not a model."""
        model = self._model or type(obj)
        if not issubclass(model, pydantic.BaseModel):
            return ValidationResult({"": (f"{model.__name__} is not a pydantic model",)})
        # Read the attributes themselves: dumping would turn nested models into dicts.
        fields = dict(obj) if isinstance(obj, pydantic.BaseModel) else obj
        try:
            model.model_validate(fields)
        except pydantic.ValidationError as error:
            return ValidationResult(ValidationError.from_pydantic(model.__name__, error).errors)
        return ValidationResult()
