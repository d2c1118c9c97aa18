from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_specifications import (
    OPERATORS,
    AndSpecification,
    AttributeSpecification,
    Field,
    NotSpecification,
    OrSpecification,
    SpecificationError,
    field,
)
from cqrs_ddd_specifications.field_comparison import _Comparison

A = field("a")
COMPARISONS = (
    (A == 1, "=", 1),
    (A != 1, "!=", 1),
    (A < 1, "<", 1),
    (A <= 1, "<=", 1),
    (A > 1, ">", 1),
    (A >= 1, ">=", 1),
    (A > 1, ">", 1),
    (A == None, "=", None),  # noqa: E711
    (A.is_in([1, None]), "in", [1, None]),
    (A.not_in({1}), "not in", [1]),
    (A.between(1, 5), "between", [1, 5]),
    (A.not_between(lowest=1, highest=5), "not between", [1, 5]),
    (A.is_null(), "is null", None),
    (A.is_not_null(), "is not null", None),
    (A.is_empty(), "is empty", None),
    (A.is_not_empty(), "is not empty", None),
    (A.like("a%"), "like", "a%"),
    (A.ilike("a%"), "ilike", "a%"),
    (A.contains("x"), "contains", "x"),
    (A.icontains("x"), "icontains", "x"),
    (A.starts_with("x"), "startswith", "x"),
    (A.istarts_with("x"), "istartswith", "x"),
    (A.ends_with("x"), "endswith", "x"),
    (A.iends_with("x"), "iendswith", "x"),
    (A.contains_any(["x"]), "contains_any", ["x"]),
    (A.contains_all(["x"]), "contains_all", ["x"]),
    (A.has_key("k"), "has_key", "k"),
    (A.has_any(["k"]), "has_any", ["k"]),
    (A.has_all(["k"]), "has_all", ["k"]),
    (A.json_contains({"k": 1}), "json_contains", {"k": 1}),
    (A.json_contained_by({"k": 1}), "json_contained_by", {"k": 1}),
    (A.path_exists("k.l"), "path_exists", "k.l"),
)


@pytest.mark.parametrize(("built", "operator", "value"), COMPARISONS, ids=lambda each: str(each))
def test_field_comparison_builds_the_attribute_specification(
    built: AttributeSpecification, operator: str, value: object
) -> None:
    assert built == AttributeSpecification("a", operator, value)


def test_field_has_a_comparison_for_each_portable_operator() -> None:
    methods = {each.operator for each in vars(Field).values() if isinstance(each, _Comparison)}
    symbols = {OPERATORS.find(each) for each in ("=", "!=", "<", "<=", ">", ">=")}

    assert methods | symbols == {each for each in OPERATORS if each.portable}
    assert not methods & symbols
    assert Field.is_in.__doc__ == f"Return the condition: {OPERATORS['in'].meaning}."


def test_field_comparisons_are_combined_by_operators_of_python() -> None:
    large, is_open = field("total") > 100, field("status") == "open"

    assert large & is_open == AndSpecification([large, is_open])
    assert large | is_open == OrSpecification([large, is_open])
    assert ~large == NotSpecification(large)
    assert ~(field("note") == None) == NotSpecification(A_NOTE_IS_NONE)  # noqa: E711


A_NOTE_IS_NONE = AttributeSpecification("note", "=", None)


@pytest.mark.parametrize(
    "use",
    [
        lambda: 1 < field("total") < 5,
        lambda: field("total") > 1 and field("total") < 5,
        lambda: field("total") > 1 or field("status") == "open",
        lambda: not field("total") > 1,
        lambda: "yes" if field("total") > 1 else "no",
        lambda: bool((field("total") > 1) & (field("total") < 5)),
    ],
)
def test_specification_in_a_boolean_context_is_an_error_that_says_what_to_write(
    use: Callable[[], Any],
) -> None:
    with pytest.raises(InvalidOperationError, match=r"combine .* with &, \| and ~") as caught:
        use()

    assert "between(low, high)" in str(caught.value)
    assert "is_satisfied_by(candidate)" in str(caught.value)


def test_field_without_a_comparison_is_neither_a_condition_nor_hashable() -> None:
    with pytest.raises(InvalidOperationError, match=r"field\('active'\) == True"):
        bool(field("active"))
    with pytest.raises(TypeError):
        hash(field("active"))
    with pytest.raises(InvalidOperationError):
        bool(field("a") in [field("b")])
    assert repr(field("a.b")) == "field('a.b')"


@pytest.mark.parametrize("path", ["", "a..b", "x" * 2_000, 1, None])
def test_comparison_of_a_field_rejects_a_malformed_path(path: Any) -> None:
    with pytest.raises(SpecificationError):
        field(path).is_null()


def test_field_comparison_rejects_a_value_of_another_shape() -> None:
    with pytest.raises(SpecificationError):
        field("a").is_in("text")
