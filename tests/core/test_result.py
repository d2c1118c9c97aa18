from __future__ import annotations

import pytest

from cqrs_ddd_core import Failure, Result, Success
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError, NotFoundError, ValidationError
from cqrs_ddd_core.primitives.result import is_failure, is_success


def _half(number: int) -> Result[int]:
    return Success(number // 2) if number % 2 == 0 else Failure("ODD", f"{number} is odd")


def test_success_is_passed_to_the_next_step() -> None:
    result = Success(8).bind(_half).map(str)

    assert result == Success("4")
    assert result.unwrap() == "4"
    assert result.unwrap_or("nothing") == "4"


def test_failure_skips_the_next_steps() -> None:
    result = Success(6).bind(_half).bind(_half).map(str)

    assert result == Failure("ODD", "3 is odd")
    assert result.unwrap_or(0) == 0


def test_is_success_and_is_failure_distinguish_results() -> None:
    assert is_success(_half(2))
    assert not is_failure(_half(2))
    assert is_failure(_half(3))
    assert not is_success(_half(3))


@pytest.mark.parametrize("value", [0, None, "", [], False])
def test_success_is_true_and_failure_false_in_a_condition(value: object) -> None:
    assert bool(Success(value))
    assert not Failure("ODD", "3 is odd")


def test_unwrapping_a_failure_raises_its_error() -> None:
    with pytest.raises(BusinessRuleError, match="ODD: 3 is odd"):
        _half(3).unwrap()


def test_error_converts_to_a_failure_with_its_facts_and_back() -> None:
    error = ValidationError("not valid", errors={"name": ["is missing"]})

    failure = Failure.from_exception(error)

    assert failure == Failure("ValidationError", "not valid", {"errors": {"name": ("is missing",)}})
    back = failure.to_exception()
    assert isinstance(back, ValidationError)
    assert back.errors == error.errors
    assert Failure.from_exception(NotFoundError("gone")).details is None
    assert Failure.from_exception(OSError("disk")).details is None


def test_success_and_failure_compare_by_value() -> None:
    assert len({Success(1), Success(1), Failure("A", "a", {"x": []}), Failure("A", "a")}) == 3
    with pytest.raises(AttributeError):
        Success(1).value = 2  # type: ignore[misc]
