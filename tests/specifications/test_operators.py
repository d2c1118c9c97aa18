from __future__ import annotations

import copy
import pickle

import pytest

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_specifications import OPERATORS, AttributeSpecification, Operator, Takes
from cqrs_ddd_specifications.exceptions import SpecificationError, UnknownOperatorError
from cqrs_ddd_specifications.operators import (
    EQ,
    FTS,
    FTS_PHRASE,
    GE,
    IN,
    IREGEX,
    NOT_IN,
    REGEX,
    STARTSWITH,
    OperatorTable,
)

PORTABLE = [each for each in OPERATORS if each.portable]
SPELLINGS = [(text, each) for each in PORTABLE for text in (each.name, *each.spellings)]


@pytest.mark.parametrize(("spelling", "operator"), SPELLINGS)
def test_every_spelling_of_an_operator_is_found(spelling: str, operator: Operator) -> None:
    assert OPERATORS.find(spelling) is operator


@pytest.mark.parametrize(("spelling", "operator"), SPELLINGS)
def test_operator_spellings_ignore_case_blanks_and_hyphens(
    spelling: str, operator: Operator
) -> None:
    assert OPERATORS.find(f" {spelling.upper()}\n") is operator
    assert OPERATORS.find(spelling.replace("_", "-")) is operator
    assert OPERATORS.find(spelling.replace("_", "  ")) is operator


def test_operator_table_finds_an_operator_object() -> None:
    assert OPERATORS.find(GE) is GE
    assert OPERATORS.find(REGEX) is REGEX


@pytest.mark.parametrize("operator", [REGEX, IREGEX, FTS, FTS_PHRASE])
def test_operator_that_differs_between_databases_is_not_found_by_name(operator: Operator) -> None:
    for spelling in (operator.name, *operator.spellings):
        with pytest.raises(UnknownOperatorError, match="pass the operator itself"):
            OPERATORS.find(spelling)


def test_only_regular_expressions_and_full_text_search_are_not_portable() -> None:
    assert {each for each in OPERATORS if not each.portable} == {REGEX, IREGEX, FTS, FTS_PHRASE}


def test_unknown_operator_error_names_similar_spellings() -> None:
    with pytest.raises(UnknownOperatorError) as caught:
        OPERATORS.find("start_with")

    assert "starts_with" in caught.value.near
    assert str(caught.value).startswith("unknown operator 'start_with'; did you")


def test_unknown_operator_error_suggests_portable_operators_only() -> None:
    with pytest.raises(UnknownOperatorError) as caught:
        OPERATORS.find("regexp")

    assert "regex" not in caught.value.near


@pytest.mark.parametrize("spelling", ["", "___", "'; DROP TABLE orders", "x" * 100_000, "=\x00"])
def test_unknown_operator_error_is_short_for_any_spelling(spelling: str) -> None:
    with pytest.raises(UnknownOperatorError) as caught:
        OPERATORS.find(spelling)

    assert len(str(caught.value)) < 250
    assert isinstance(caught.value, SpecificationError)


@pytest.mark.parametrize("spelling", ["near", "EQ", "starts with"])
def test_operator_with_the_spelling_of_another_operator_is_rejected(spelling: str) -> None:
    table = OperatorTable()
    for each in (EQ, STARTSWITH, Operator("near", Takes.VALUE, "")):
        table.register(each)

    with pytest.raises(ConfigError, match=r"is already a spelling of <operator \w+|=>"):
        table.register(Operator("mine", Takes.VALUE, "", (spelling,)))

    assert len(list(table)) == 3


def test_operator_may_repeat_its_own_spelling() -> None:
    table = OperatorTable()

    operator = table.register(Operator("is near", Takes.VALUE, "", ("is_near", "IS-NEAR")))

    assert list(table) == [operator]


def test_operator_table_contains_registered_operators() -> None:
    assert EQ in OPERATORS
    assert Operator("=", Takes.VALUE, "") not in OPERATORS
    assert "=" not in OPERATORS


@pytest.mark.parametrize("operator", list(OPERATORS), ids=lambda each: each.name)
def test_each_operator_has_a_meaning_and_field_kinds(operator: Operator) -> None:
    assert operator.meaning
    assert operator.kinds
    assert repr(operator) == f"<operator {operator.name}>"


@pytest.mark.parametrize("operator", list(OPERATORS), ids=lambda each: each.name)
def test_copy_of_an_operator_is_the_operator_itself(operator: Operator) -> None:
    assert pickle.loads(pickle.dumps(operator)) is operator
    assert copy.deepcopy(operator) is operator


def test_complement_of_an_operator_takes_the_same_operands() -> None:
    pairs = [(each, each.complement) for each in OPERATORS if each.complement is not None]

    assert (NOT_IN, IN) in pairs
    for operator, other in pairs:
        assert (operator.takes, operator.kinds) == (other.takes, other.kinds)


def test_every_portable_operator_is_evaluated_in_memory() -> None:
    values = {Takes.LIST: [], Takes.RANGE: [1, 2], Takes.VALUE: 1, Takes.NOTHING: None}
    values |= {Takes.KEYS: ["a"], Takes.DOCUMENT: 1}

    for each in PORTABLE:
        condition = AttributeSpecification("a", each, values.get(each.takes, "a"))

        assert condition.is_satisfied_by({"a": 1}) in (True, False)
