from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_specifications import (
    OPERATORS,
    AttributeSpecification,
    Operator,
    SpecificationFactory,
    Takes,
)
from cqrs_ddd_specifications.exceptions import (
    SpecificationValueError,
    UnknownOperatorError,
    UnsupportedOperatorError,
)
from cqrs_ddd_specifications.field_types import Kind
from cqrs_ddd_specifications.operators import FTS, REGEX


@dataclass
class Number:
    value: int | None
    text: str = ""


MULTIPLE = Operator(
    "multiple_of",
    Takes.VALUE,
    "divisible without a rest",
    ("multiple",),
    memory=lambda actual, given: bool(actual % given == 0),
)
NO_MULTIPLE = Operator("no_multiple_of", Takes.VALUE, "the opposite", complement=MULTIPLE)


@pytest.fixture
def registered_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPERATORS, "_by_spelling", dict(OPERATORS._by_spelling))
    OPERATORS.register(MULTIPLE)
    OPERATORS.register(NO_MULTIPLE)


@pytest.mark.usefixtures("registered_operators")
def test_registered_operator_is_found_by_name() -> None:
    condition = AttributeSpecification("value", "Multiple of", 3)

    assert [n for n in range(7) if condition.is_satisfied_by(Number(n))] == [0, 3, 6]


@pytest.mark.usefixtures("registered_operators")
def test_operator_cannot_be_registered_twice() -> None:
    with pytest.raises(ConfigError, match="multiple_of"):
        OPERATORS.register(MULTIPLE)


def test_unregistered_operator_can_be_passed_as_an_object() -> None:
    assert AttributeSpecification("value", MULTIPLE, 2).is_satisfied_by({"value": 4})


def test_custom_operator_is_not_called_for_none() -> None:
    assert not AttributeSpecification("value", MULTIPLE, 3).is_satisfied_by(Number(None))
    assert AttributeSpecification("value", NO_MULTIPLE, 3).is_satisfied_by(Number(None))
    assert AttributeSpecification("missing", NO_MULTIPLE, 3).is_satisfied_by({})


def test_complement_of_an_operator_has_the_opposite_result_for_every_value() -> None:
    for value in (None, 0, 1, 2, 3):
        holds = AttributeSpecification("value", MULTIPLE, 2).is_satisfied_by(Number(value))
        opposite = AttributeSpecification("value", NO_MULTIPLE, 2).is_satisfied_by(Number(value))

        assert opposite is not holds


def test_custom_operator_receives_its_operand_unchanged() -> None:
    seen: list[Any] = []
    given = object()

    def remember(actual: Any, value: Any) -> bool:
        seen.append(value)
        return True

    spy = Operator("spy", Takes.VALUE, "", memory=remember)

    assert AttributeSpecification("value", spy, given).is_satisfied_by(Number(1))
    assert seen == [given]


def test_custom_operator_with_kinds_receives_a_coerced_operand() -> None:
    near = Operator(
        "near",
        Takes.VALUE,
        "at most 1 apart",
        kinds=frozenset({Kind.INTEGER}),
        memory=lambda actual, given: bool(abs(actual - given) <= 1),
    )

    assert AttributeSpecification("value", near, 3).is_satisfied_by(Number(4))
    with pytest.raises(SpecificationValueError, match="value is integer"):
        AttributeSpecification("value", near, "3").is_satisfied_by(Number(4))
    with pytest.raises(
        UnsupportedOperatorError, match="near does not apply to text, which is text"
    ):
        AttributeSpecification("text", near, 3).is_satisfied_by(Number(4))


def test_operator_without_an_in_memory_function_raises_unsupported_operator_error() -> None:
    sql_only = Operator("sounds_like", Takes.TEXT, "")

    with pytest.raises(UnsupportedOperatorError, match="cannot be evaluated in memory"):
        AttributeSpecification("text", sql_only, "a").is_satisfied_by(Number(1))
    with pytest.raises(UnsupportedOperatorError, match="cannot be evaluated in memory"):
        AttributeSpecification("text", FTS, "a").is_satisfied_by(Number(1))


@pytest.mark.usefixtures("registered_operators")
def test_specification_with_a_registered_operator_survives_pickling_and_json() -> None:
    condition = AttributeSpecification("value", MULTIPLE, 3)

    assert pickle.loads(pickle.dumps(condition)) == condition
    assert copy.deepcopy(condition) == condition
    assert SpecificationFactory.from_json(SpecificationFactory.to_json(condition)) == condition


def test_input_can_name_an_operator_that_the_caller_allows() -> None:
    data = {"attribute": "text", "operator": "Regex", "value": "^a+$"}

    with pytest.raises(UnknownOperatorError):
        SpecificationFactory.from_dict(data)
    condition = SpecificationFactory.from_dict(data, operators=[REGEX])

    assert condition.is_satisfied_by(Number(1, "aaa"))


@pytest.mark.parametrize("expression", ["(", "a{99999999999999999999}", "[z-a]", "(?P<a>)(?P<a>)"])
def test_invalid_regular_expression_is_rejected(expression: str) -> None:
    with pytest.raises(SpecificationValueError, match="is not a regular expression"):
        AttributeSpecification("text", REGEX, expression).is_satisfied_by(Number(1))
