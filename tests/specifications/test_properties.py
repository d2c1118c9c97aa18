"""Properties of every specification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_specifications import (
    OPERATORS,
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    QueryOptions,
    Specification,
    SpecificationFactory,
    select,
)
from cqrs_ddd_specifications.testing import Cases

SEEDS = range(40)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass
class Sample:
    text: str | None
    whole: int | None
    ratio: float | None
    price: Decimal | None
    at: datetime | None
    is_on: bool | None


def answers(specification: Specification, cases: Cases) -> list[bool]:
    return [specification.is_satisfied_by(each) for each in cases.objects]


@pytest.mark.parametrize("seed", SEEDS)
def test_specification_read_from_json_has_the_same_result(seed: int) -> None:
    cases = Cases(seed)

    for specification in cases.specifications(60):
        text = SpecificationFactory.to_json(specification)
        again = SpecificationFactory.from_json(text)

        assert answers(again, cases) == answers(specification, cases), text


@pytest.mark.parametrize("seed", SEEDS)
def test_page_read_from_json_selects_the_same_items(seed: int) -> None:
    cases = Cases(seed)

    for _ in range(20):
        options = cases.options().with_pagination(limit=5)
        again = QueryOptions.from_json(options.to_json())

        assert select(cases.objects, again) == select(cases.objects, options)


@pytest.mark.parametrize("seed", SEEDS)
def test_negation_of_a_specification_is_its_complement_and_undoes_itself(seed: int) -> None:
    cases = Cases(seed)

    for specification in cases.specifications(60):
        results = answers(specification, cases)

        assert answers(~specification, cases) == [not each for each in results]
        assert answers(~~specification, cases) == results


@pytest.mark.parametrize("seed", SEEDS)
def test_de_morgans_laws_hold_for_specifications(seed: int) -> None:
    cases = Cases(seed)
    parts = list(cases.specifications(60))

    for one, other in zip(parts[::2], parts[1::2], strict=True):
        neither = AndSpecification([~one, ~other])
        not_both = OrSpecification([~one, ~other])

        assert answers(NotSpecification(one | other), cases) == answers(neither, cases)
        assert answers(NotSpecification(one & other), cases) == answers(not_both, cases)


@pytest.mark.parametrize("seed", SEEDS)
def test_selected_objects_of_a_page_satisfy_its_condition(seed: int) -> None:
    cases = Cases(seed)

    for _ in range(20):
        options = cases.options()

        assert options.condition is not None
        for each in select(cases.objects, options):
            assert options.condition.is_satisfied_by(each)


# An independent implementation of comparison.


def size(value: Any) -> Any:
    """Return a key by which Python compares values of the kind as the operators do."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return [ord(character) for character in value]
    if isinstance(value, datetime):
        offset = value.utcoffset()
        assert offset is not None
        return value.replace(tzinfo=timezone.utc) - offset - EPOCH
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)


NAIVE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda held, asked: (
        held is asked if held is None or asked is None else bool(size(held) == size(asked))
    ),
    "<": lambda held, asked: held is not None and bool(size(held) < size(asked)),
    "<=": lambda held, asked: held is not None and bool(size(held) <= size(asked)),
    ">": lambda held, asked: held is not None and bool(size(held) > size(asked)),
    ">=": lambda held, asked: held is not None and bool(size(held) >= size(asked)),
    "in": lambda held, asked: any(NAIVE["="](held, each) for each in asked),
    "between": lambda held, asked: NAIVE[">="](held, asked[0]) and NAIVE["<="](held, asked[1]),
    "is_null": lambda held, asked: held is None,
    "!=": lambda held, asked: not NAIVE["="](held, asked),
    "not_in": lambda held, asked: not NAIVE["in"](held, asked),
    "not_between": lambda held, asked: not NAIVE["between"](held, asked),
    "is_not_null": lambda held, asked: held is not None,
}

ZONES = st.sampled_from([timezone(timedelta(minutes=m)) for m in (0, 60, -660, 330)])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-9, max_value=9)
SMALL = st.integers(-3, 3) | st.sampled_from([2**53, 2**53 + 1, -(2**63)])
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 1, 3), timezones=ZONES)
VALUES: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "text": (st.text("aAbä\uffff\U0001f600%", max_size=2),) * 2,
    "whole": (SMALL, SMALL | FLOATS | DECIMALS),
    "ratio": (FLOATS | st.sampled_from([0.1, 0.5, 2.0**53]),) * 2,
    "price": (DECIMALS, DECIMALS | FLOATS | st.integers(-9, 9)),
    "at": (TIMES, TIMES),
    "is_on": (st.booleans(), st.booleans()),
}


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, list[Any], str, Any]:
    name = draw(st.sampled_from(sorted(VALUES)))
    held, asked = VALUES[name]
    stored = draw(st.lists(st.none() | held, max_size=5))
    # Often a value that is present.
    near = asked | st.sampled_from(present) if (present := [*filter(None, stored)]) else asked
    operator = draw(st.sampled_from(sorted(NAIVE)))
    if operator.endswith("in"):
        return name, stored, operator, draw(st.lists(st.none() | near, max_size=4))
    if operator.endswith("between"):
        return name, stored, operator, [draw(near), draw(near)]
    if operator.endswith("null"):
        return name, stored, operator, None
    return name, stored, operator, draw(st.none() | near if operator in ("=", "!=") else near)


@settings(deadline=None, max_examples=1_500)
@given(question=questions())
def test_comparison_operators_agree_with_an_independent_implementation(
    question: tuple[str, list[Any], str, Any],
) -> None:
    name, stored, operator, value = question
    condition = AttributeSpecification(name, operator, value)
    predicate = condition.predicate_for(Sample)
    nothing = dict.fromkeys(VALUES)

    for held in stored:
        expected = NAIVE[operator](held, value)

        assert predicate(Sample(**{**nothing, name: held})) is expected
        # Booleans have an order only in declared fields.
        if name != "is_on" or operator in ("=", "!=", "in", "not_in"):
            assert condition.is_satisfied_by({name: held}) is expected


def test_independent_implementation_covers_all_comparison_operators() -> None:
    family = {"=", "<", "<=", ">", ">=", "in", "between", "is_null"}
    complements = {
        each.name for each in OPERATORS if each.complement and each.complement.name in family
    }

    assert set(NAIVE) == family | complements
