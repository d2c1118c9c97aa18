"""What every validator must do."""

from __future__ import annotations

from typing import Any

from ...ports.validation import IValidator


class ValidatorContract:
    """Fixtures: ``validator``; ``valid`` and ``invalid``, an object of each kind for it."""

    async def test_what_is_valid_has_no_findings(self, validator: IValidator, valid: Any) -> None:
        verdict = await validator.validate(valid)

        assert verdict.is_valid
        assert dict(verdict.errors) == {}

    async def test_what_is_invalid_is_told_by_field_and_not_raised(
        self, validator: IValidator, invalid: Any
    ) -> None:
        verdict = await validator.validate(invalid)

        assert not verdict.is_valid
        assert verdict.errors
        for field, texts in verdict.errors.items():
            assert isinstance(field, str)
            assert texts

    async def test_the_same_object_gets_the_same_verdict(
        self, validator: IValidator, valid: Any, invalid: Any
    ) -> None:
        first = [await validator.validate(each) for each in (valid, invalid)]
        again = [await validator.validate(each) for each in (valid, invalid)]

        assert first == again
