"""Contract of validators."""

from __future__ import annotations

from typing import Any

from ...ports.validation import IValidator


class ValidatorContract:
    """Contract of ``IValidator``.

    Fixtures:
        validator: The validator under test.
        valid: An object without errors for the validator.
        invalid: An object with errors for the validator.
    """

    async def test_validator_reports_no_errors_for_a_valid_object(
        self, validator: IValidator, valid: Any
    ) -> None:
        outcome = await validator.validate(valid)

        assert outcome.is_valid
        assert outcome
        assert dict(outcome.errors) == {}

    async def test_validator_returns_errors_by_field_instead_of_raising(
        self, validator: IValidator, invalid: Any
    ) -> None:
        outcome = await validator.validate(invalid)

        assert not outcome.is_valid
        assert not outcome
        assert outcome.errors
        for field, texts in outcome.errors.items():
            assert isinstance(field, str)
            assert texts

    async def test_validator_returns_equal_results_for_the_same_object(
        self, validator: IValidator, valid: Any, invalid: Any
    ) -> None:
        first = [await validator.validate(each) for each in (valid, invalid)]
        again = [await validator.validate(each) for each in (valid, invalid)]

        assert first == again
