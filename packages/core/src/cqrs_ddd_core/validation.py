"""Ready-made validators."""

import pydantic

from .ports.validation import IValidator, ValidationResult
from .primitives.exceptions import ValidationError

__all__ = ["CompositeValidator", "PydanticValidator"]


class CompositeValidator(IValidator):
    """Several validators as one, which returns the errors of all."""

    def __init__(self, *validators: IValidator) -> None:
        self._validators = validators

    async def validate(self, obj: object) -> ValidationResult:
        errors: dict[str, tuple[str, ...]] = {}
        for validator in self._validators:
            for field, texts in (await validator.validate(obj)).errors.items():
                errors[field] = errors.get(field, ()) + tuple(texts)
        return ValidationResult(errors)


class PydanticValidator(IValidator):
    """Validator by ``model``, or by the class of the object.

    It also finds what ``model_construct`` and ``model_copy(update=...)`` let through.
    """

    def __init__(self, model: type[pydantic.BaseModel] | None = None) -> None:
        self._model = model

    async def validate(self, obj: object) -> ValidationResult:
        model = self._model or type(obj)
        if not issubclass(model, pydantic.BaseModel):
            return ValidationResult({"": (f"{model.__name__} is not a pydantic model",)})
        # The attributes as they are: dumping would turn nested models into dicts.
        fields = dict(obj) if isinstance(obj, pydantic.BaseModel) else obj
        try:
            model.model_validate(fields)
        except pydantic.ValidationError as error:
            return ValidationResult(ValidationError.from_pydantic(model.__name__, error).errors)
        return ValidationResult()
