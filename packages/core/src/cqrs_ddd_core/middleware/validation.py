"""No invalid message reaches its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..ports.middleware import IMiddleware
from ..ports.validation import IValidator
from ..primitives.exceptions import ValidationError


class ValidatorMiddleware(IMiddleware):
    """Raises ``ValidationError`` with all that the validator found."""

    def __init__(self, validator: IValidator) -> None:
        self._validator = validator

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        verdict = await self._validator.validate(message)
        if not verdict.is_valid:
            problems = "; ".join(
                f"{field or 'message'}: {', '.join(texts)}"
                for field, texts in verdict.errors.items()
            )
            raise ValidationError(
                f"{type(message).__name__} is not valid: {problems}", errors=verdict.errors
            )
        return await next_(message)
