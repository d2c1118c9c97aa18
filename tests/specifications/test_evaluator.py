"""Evaluation in memory: results of ``meanings.py``, safety, and wrong evaluators."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from cqrs_ddd_specifications import OPERATORS, AttributeSpecification, Operator
from cqrs_ddd_specifications.exceptions import SpecificationError, UnknownFieldError
from cqrs_ddd_specifications.memory.text import match_pattern
from cqrs_ddd_specifications.operators import BETWEEN, EQ, IN, LT
from cqrs_ddd_specifications.patterns import Wildcard, fold_case, parse_pattern
from tests.specifications.meanings import (
    DECLARED,
    EAST,
    FIRST,
    MEANINGS,
    NOON,
    SECOND,
    WORLDS,
    Moment,
    Thing,
    ThingModel,
)

OPPOSITES = {each.complement: each for each in OPERATORS if each.complement is not None}


def assert_answer(candidate: Any, path: str, operator: str, value: Any, answer: bool) -> None:
    """Check the result, and that complement and negation have the opposite result."""
    condition = AttributeSpecification(path, operator, value)

    assert condition.is_satisfied_by(candidate) is answer
    assert (~condition).is_satisfied_by(candidate) is not answer
    found = condition.operator
    if opposite := OPPOSITES.get(found) or found.complement:
        opposed = AttributeSpecification(path, opposite, value)
        assert opposed.is_satisfied_by(candidate) is not answer


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("stored", "path", "operator", "value", "answer"), MEANINGS)
def test_each_operator_has_the_specified_result_in_memory(
    world: str, stored: dict[str, Any], path: str, operator: str, value: Any, answer: bool
) -> None:
    assert_answer(WORLDS[world](stored), path, operator, value, answer)


@pytest.mark.parametrize(("name", "stored", "operator", "value", "answer"), DECLARED)
def test_each_operator_has_the_specified_result_for_declared_field_types(
    name: str, stored: Any, operator: str, value: Any, answer: bool
) -> None:
    assert_answer(Moment(**{name: stored}), name, operator, value, answer)


def test_every_portable_operator_has_specified_results() -> None:
    asked = {OPERATORS.find(row[2]) for row in (*MEANINGS, *DECLARED)}

    missing = {
        each
        for each in OPERATORS
        if each.portable and each not in asked and each.complement not in asked
    }
    assert not missing


@pytest.mark.parametrize(
    ("stored", "operator", "value", "answer"),
    [
        (FIRST, "=", SECOND, False),
        (FIRST, "<", SECOND, True),
        (NOON.astimezone(EAST), "=", NOON, True),
        (datetime(2026, 3, 1, 12), "=", NOON, False),
        (datetime(2026, 3, 1, 12), "<", NOON, False),
        (datetime(2026, 3, 1, 12), ">=", NOON, False),
        (date(2026, 3, 1), "=", NOON, False),
        (date(2026, 3, 1), "<", NOON, False),
        (NOON, "<", date(2027, 1, 1), False),
        (time(12, tzinfo=timezone.utc), "<", time(13), False),
        (UUID(int=5), "=", str(UUID(int=5)), False),
        (UUID(int=5), "=", UUID(int=5), True),
        (UUID(int=5), "<", UUID(int=6), True),
        (b"a", "=", "a", False),
        (Decimal("0.1"), "=", 0.1, True),
        ("a", "<", 1, False),
        (object(), "=", 1, False),
        (object(), "<", 1, False),
    ],
)
def test_dict_values_of_different_types_are_neither_equal_nor_ordered(
    stored: Any, operator: str, value: Any, answer: bool
) -> None:
    assert_answer({"a": stored}, "a", operator, value, answer)


@pytest.mark.parametrize(
    "path", ["__class__", "text.upper", "owner.__dict__", "data_", "owner.nam"]
)
@pytest.mark.parametrize("candidate", [Thing(), ThingModel()])
def test_undeclared_attribute_raises_unknown_field_error(candidate: Any, path: str) -> None:
    with pytest.raises(UnknownFieldError):
        AttributeSpecification(path, "=", 1).is_satisfied_by(candidate)


def test_json_key_with_a_dunder_name_is_an_ordinary_key() -> None:
    condition = AttributeSpecification("data.__class__", "is_null")

    assert condition.is_satisfied_by(Thing(data={"a": 1}))
    assert not condition.is_satisfied_by(Thing(data={"__class__": 1}))


@pytest.mark.parametrize("value", ["__import__('os')", "{x}", "{v}", "') or True or ('", "%s"])
def test_compiled_predicate_never_executes_operands_as_code(value: str) -> None:
    assert AttributeSpecification("text", "=", value).is_satisfied_by(Thing(text=value))
    assert not AttributeSpecification("text", "=", value).is_satisfied_by(Thing(text="other"))
    assert AttributeSpecification(f"a {value}", "=", 1).is_satisfied_by({f"a {value}": 1})


def test_compiled_predicate_evaluates_many_candidates() -> None:
    predicate = AttributeSpecification("number", ">", 1).predicate_for(Thing)

    assert [predicate(Thing(number=number)) for number in (1, 2, 3)] == [False, True, True]


def test_specification_evaluates_objects_of_several_classes() -> None:
    condition = AttributeSpecification("number", "=", 1)

    assert condition.is_satisfied_by(Thing(number=1))
    assert condition.is_satisfied_by({"number": 1})
    assert condition.is_satisfied_by(ThingModel(number=1))


def test_invalid_specification_raises_before_the_first_evaluation() -> None:
    asked = AttributeSpecification("number", "=", 1) | AttributeSpecification("text", "<", 5)

    with pytest.raises(SpecificationError):
        asked.predicate_for(Thing)


# Wrong variants.


def like_sql(operator: Operator, actual: Any, value: Any) -> bool | None:
    """Compare as SQL does: a comparison with None has no result, nor has its opposite."""
    if operator.complement is not None:
        answer = like_sql(operator.complement, actual, value)
        return None if answer is None else not answer
    if actual is None or value is None:
        return None
    compare: dict[Operator, Callable[[], bool]] = {
        EQ: lambda: bool(actual == value),
        LT: lambda: bool(actual < value),
        IN: lambda: actual in value,
        BETWEEN: lambda: bool(value[0] <= actual <= value[1]),
    }
    return compare[operator]()


def in_memory(operator: Operator, actual: Any, value: Any) -> bool | None:
    return AttributeSpecification("text", operator, value).is_satisfied_by(Thing(text=actual))


def assert_complements(evaluate: Callable[[Operator, Any, Any], bool | None]) -> None:
    asked: list[tuple[Operator, Any]] = [(EQ, "a"), (IN, ["a"]), (BETWEEN, ["a", "b"])]
    for operator, value in asked:
        for actual in ("a", "c", "", None):
            answer = evaluate(operator, actual, value)
            assert evaluate(OPPOSITES[operator], actual, value) is (not answer)


def test_each_operator_and_its_complement_have_opposite_results() -> None:
    assert_complements(in_memory)


def test_complement_check_catches_an_evaluator_with_three_valued_logic() -> None:
    with pytest.raises(AssertionError):
        assert_complements(like_sql)


class TooManyStepsError(Exception):
    pass


def match_by_backtracking(pattern: str) -> Callable[[str], bool]:
    """Match ``like`` by match_by_backtracking, with a limit of steps."""
    tokens = parse_pattern(pattern)
    steps = 0

    def matches(text: str, place: int, at: int) -> bool:
        nonlocal steps
        steps += 1
        if steps > 100_000:
            raise TooManyStepsError
        if at == len(tokens):
            return place == len(text)
        token = tokens[at]
        if token is Wildcard.ANY_TEXT:
            return any(matches(text, end, at + 1) for end in range(place, len(text) + 1))
        is_there = place < len(text) and token in (text[place], Wildcard.ANY_CHARACTER)
        return is_there and matches(text, place + 1, at + 1)

    return lambda text: matches(text, 0, 0)


def assert_ends(matcher: Callable[[str], Callable[[str], bool]], length: int) -> None:
    assert matcher("%a" * 8 + "b")("a" * 8 + "b")
    assert not matcher("%a" * 8 + "%b")("a" * length)


@pytest.mark.parametrize("length", [60, 50_000])
def test_like_pattern_is_matched_in_bounded_time(length: int) -> None:
    assert_ends(match_pattern, length)


def test_step_limit_catches_a_like_matcher_that_backtracks() -> None:
    with pytest.raises(TooManyStepsError):
        assert_ends(match_by_backtracking, 60)


@pytest.mark.parametrize(
    "pattern", ["%a%a%a%b", "%" + "_" * 900 + "b", "%a_" * 32 + "b", "%aaaaaaaaaaaaaaab%b"]
)
def test_like_pattern_on_a_long_text_ends(pattern: str) -> None:
    assert not AttributeSpecification("text", "like", pattern).is_satisfied_by(
        Thing(text="a" * 50_000)
    )


def test_like_pattern_that_ends_with_the_escape_character_is_rejected() -> None:
    with pytest.raises(SpecificationError, match=r"ends with \\"):
        AttributeSpecification("text", "like", "a\\").is_satisfied_by(Thing())


def test_case_folding_changes_a_to_z_only() -> None:
    assert fold_case("ABCXYZ[ÄÖÜ\u0130ΣK\u212a") == "abcxyz[ÄÖÜ\u0130Σk\u212a"
