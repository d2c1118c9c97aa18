"""Several validators as one."""

from __future__ import annotations

from typing import Any

from ..ports.validation import IValidator, ValidationResult


class CompositeValidator(IValidator):
    """Asks every validator and puts together what they found."""

    def __init__(self, *validators: IValidator) -> None:
        self._validators = validators

    async def validate(self, obj: Any) -> ValidationResult:
        errors: dict[str, tuple[str, ...]] = {}
        for validator in self._validators:
            for field, texts in (await validator.validate(obj)).errors.items():
                errors[field] = errors.get(field, ()) + tuple(texts)
        return ValidationResult(errors)
