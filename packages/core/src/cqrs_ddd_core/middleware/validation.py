"""Middleware that validates messages before they reach their handlers."""

from __future__ import annotations

from typing import Any, ClassVar

from ..ports import IMiddleware, IValidator, Next
from ..primitives import exceptions


class ValidatorMiddleware(IMiddleware):
    """Middleware that raises ``ValidationError`` with all problems that the validator finds.

    Args:
        validator: validates each message.
    """

    order: ClassVar[int] = 20

    def __init__(self, validator: IValidator) -> None:
        exceptions.arguments.ensure_instance(validator, IValidator, "validator")
        self._validator = validator

    async def __call__(self, message: Any, next_: Next) -> Any:
        """Handle the message if the validator finds no problem."""
        verdict = await self._validator.validate(message)
        if not verdict.is_valid:
            problems = "; ".join(
                f"{field or 'message'}: {', '.join(texts)}"
                for field, texts in verdict.errors.items()
            )
            raise exceptions.ValidationError(
                f"{type(message).__name__} is not valid: {problems}", errors=verdict.errors
            )
        return await next_(message)
