from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_specifications import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    QueryOptions,
    SpecificationFactory,
    select,
)
from cqrs_ddd_specifications.coercion import MAX_LIST
from cqrs_ddd_specifications.exceptions import (
    SpecificationError,
    SpecificationLimitError,
    SpecificationValueError,
    UnknownFieldError,
    UnknownOperatorError,
    UnsupportedOperatorError,
)
from cqrs_ddd_specifications.json_form import MAX_JSON, MAX_LEVELS
from cqrs_ddd_specifications.operators import EQ, IN, REGEX
from cqrs_ddd_specifications.specification import MAX_NODES

from_dict, from_json = SpecificationFactory.from_dict, SpecificationFactory.from_json
to_dict, to_json = SpecificationFactory.to_dict, SpecificationFactory.to_json


@dataclass
class Account:
    name: str
    balance: int
    password_hash: str = "x"
    notes: dict[str, Any] | None = None


OPEN = {"attribute": "status", "operator": "=", "value": "open"}
STATUS = AttributeSpecification("status", "=", "open")


def nest(levels: int, inner: Any = OPEN, key: str = "not") -> Any:
    for _ in range(levels):
        inner = {key: inner if key == "not" else [inner]}
    return inner


@pytest.mark.parametrize(
    ("data", "specification"),
    [
        (OPEN, STATUS),
        ({"attribute": "status", "operator": "EQ", "value": "open"}, STATUS),
        ({"attribute": "a", "operator": "is_null"}, AttributeSpecification("a", "is_null")),
        (
            {"attribute": "a", "operator": "in", "value": [1, "b"]},
            AttributeSpecification("a", "in", [1, "b"]),
        ),
        ({"and": [OPEN, OPEN]}, AndSpecification([STATUS, STATUS])),
        ({"or": []}, OrSpecification()),
        ({"not": OPEN}, NotSpecification(STATUS)),
        (
            {"and": [{"or": [OPEN, {"not": OPEN}]}]},
            AndSpecification([OrSpecification([STATUS, ~STATUS])]),
        ),
    ],
)
def test_specification_factory_reads_a_dict(data: dict[str, Any], specification: Any) -> None:
    assert from_dict(data) == specification
    assert from_json(json.dumps(data)) == specification
    assert from_dict(to_dict(specification)) == specification


def test_specification_factory_reads_json_from_text_and_bytes() -> None:
    assert from_json(b'{"attribute": "status", "operator": "=", "value": "open"}') == STATUS
    assert to_json(STATUS) == '{"attribute":"status","operator":"=","value":"open"}'


def test_opaque_specification_cannot_be_written_as_json() -> None:
    class IsOpen:
        def is_satisfied_by(self, candidate: Any) -> bool:
            return True

    with pytest.raises(SpecificationError, match="cannot be written as JSON"):
        to_dict(STATUS & IsOpen())


UNREADABLE: list[Any] = [
    None,
    1,
    "status",
    [],
    [OPEN],
    {},
    {"attribute": "a"},
    {"operator": "="},
    {"attribute": "a", "value": 1},
    {**OPEN, "extra": 1},
    {**OPEN, "and": []},
    {"and": OPEN},
    {"and": "ab"},
    {"and": None},
    {"and": [1]},
    {"and": [OPEN], "or": [OPEN]},
    {"not": [OPEN]},
    {"not": None},
    {"not": {}},
    {"xor": [OPEN, OPEN]},
    {"AND": [OPEN]},
    {"": OPEN},
    {"__class__": "Specification"},
    {1: 2},
    {None: OPEN},
    {("and",): [OPEN]},
]


@pytest.mark.parametrize("data", UNREADABLE, ids=repr)
def test_malformed_specification_input_is_rejected_with_the_expected_form(data: Any) -> None:
    with pytest.raises(SpecificationError, match=r'a specification is \{"and": \[...\]\}'):
        from_dict(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nul",
        "NaN",
        '{"a": NaN}',
        '{"a": Infinity}',
        "{'a': 1}",
        '{"attribute": "a", "operator": "=", "value": 1' + "0" * 5_000 + "}",
        "[" * 10_000 + "]" * 10_000,
        '{"not":' * 10_000 + "1" + "}" * 10_000,
        b"\xff\xfe",
        "\x00",
    ],
    ids=range(12),
)
def test_specification_factory_rejects_invalid_json(text: str | bytes) -> None:
    with pytest.raises(SpecificationError, match="^cannot parse the JSON"):
        from_json(text)


def test_json_input_of_a_specification_is_bounded_in_length() -> None:
    with pytest.raises(SpecificationLimitError) as caught:
        from_json(" " * (MAX_JSON + 1))

    assert (caught.value.limit, caught.value.allowed) == ("characters", MAX_JSON)


@pytest.mark.parametrize("key", ["not", "and", "or"])
def test_nesting_of_specification_input_is_bounded(key: str) -> None:
    from_dict(nest(MAX_LEVELS - 1, key=key))

    for levels in (MAX_LEVELS, 10_000):
        with pytest.raises(SpecificationLimitError, match="at most 32 levels"):
            from_dict(nest(levels, key=key))


def test_number_of_conditions_in_specification_input_is_bounded() -> None:
    from_dict({"or": [OPEN] * (MAX_NODES - 1)})

    with pytest.raises(SpecificationLimitError, match="at most 500 conditions and groups"):
        from_dict({"or": [OPEN] * MAX_NODES})


def test_shared_groups_in_specification_input_count_at_each_use() -> None:
    shared: Any = OPEN
    for _ in range(MAX_LEVELS - 1):
        shared = {"and": [shared, shared]}

    with pytest.raises(SpecificationLimitError):
        from_dict(shared)


def test_operand_lists_in_specification_input_are_bounded() -> None:
    with pytest.raises(SpecificationLimitError, match="at most 10,000 items in a list"):
        from_dict({"attribute": "a", "operator": "in", "value": [0] * (MAX_LIST + 1)})


DEEP: Any = []
for _ in range(10_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "data",
    [
        DEEP,
        {"x": DEEP},
        {"and": DEEP},
        {"attribute": DEEP, "operator": "="},
        {"attribute": "a", "operator": DEEP},
        {"attribute": "a", "operator": "contains", "value": DEEP},
        {"attribute": "a", "operator": "between", "value": DEEP},
        {"attribute": "a", "operator": "json_contains", "value": DEEP},
    ],
    ids=range(8),
)
def test_deeply_nested_specification_input_is_rejected_with_a_short_error(data: Any) -> None:
    with pytest.raises(SpecificationError) as caught:
        from_dict(data)

    assert len(str(caught.value)) < 300


def test_deeply_nested_operand_is_rejected_by_its_field() -> None:
    condition = from_dict({"attribute": "name", "operator": "=", "value": DEEP})

    with pytest.raises(SpecificationValueError, match="name is text"):
        condition.is_satisfied_by(Account("a", 1))
    with pytest.raises(SpecificationLimitError, match="levels of JSON"):
        to_json(condition)


@pytest.mark.parametrize("operator", [EQ, REGEX, 1, None, True, ["="], {"=": 1}, b"=", object()])
def test_specification_input_can_name_an_operator_by_text_only(operator: Any) -> None:
    with pytest.raises(UnknownOperatorError, match="pass the name of an operator"):
        from_dict({"attribute": "a", "operator": operator, "value": 1})


@pytest.mark.parametrize("name", ["regex", "~", "iregex", "fts", "search", "Matches"])
def test_specification_input_cannot_name_an_operator_that_is_not_portable(name: str) -> None:
    with pytest.raises(UnknownOperatorError):
        from_dict({"attribute": "a", "operator": name, "value": "(a+)+$"})


@pytest.mark.parametrize("attribute", [None, 1, True, [], {}, "", ".", "a..b", "a.", ["a"], b"a"])
def test_specification_input_rejects_an_attribute_that_is_not_a_path(attribute: Any) -> None:
    with pytest.raises(SpecificationError):
        from_dict({"attribute": attribute, "operator": "=", "value": 1})
    with pytest.raises(SpecificationError):
        from_dict({"attribute": attribute, "operator": "=", "value": 1}, allowed_fields=["a"])


@pytest.mark.parametrize(
    "attribute",
    ["__class__", "name.__class__", "__dict__.name", "__init__.__globals__", "name.__len__", "nam"],
)
def test_attribute_path_in_input_cannot_leave_the_declared_fields(attribute: str) -> None:
    condition = from_dict({"attribute": attribute, "operator": "is_null"})

    with pytest.raises(UnknownFieldError):
        condition.is_satisfied_by(Account("a", 1))


@pytest.mark.parametrize(
    "attribute",
    [
        "password_hash",
        "Name",
        "name ",
        "name.x",
        "notes.a",
        "notes.a.b.c",
        "password_has",
        "__class__",
        "na",
    ],
)
@pytest.mark.parametrize(
    "wrapped", [lambda c: c, lambda c: {"not": c}, lambda c: {"or": [OPEN, c]}]
)
def test_field_that_is_not_allowed_is_rejected_at_every_level(attribute: str, wrapped: Any) -> None:
    condition = {"attribute": attribute, "operator": "=", "value": 1}

    with pytest.raises(UnknownFieldError):
        from_dict(wrapped(condition), allowed_fields=["status", "name", "notes.a.b"])


@pytest.mark.parametrize("asked", ["password_has", "password", "hash", "nam", "balanc"])
def test_no_error_names_a_field_that_is_not_allowed(asked: str) -> None:
    with pytest.raises(UnknownFieldError) as caught:
        from_dict({"attribute": asked, "operator": "="}, allowed_fields=["name", "status"])

    assert "password_hash" not in str(caught.value)
    assert "balance" not in str(caught.value)
    assert set(caught.value.near) <= {"name", "status"}


def test_each_allowed_field_can_have_its_own_operators() -> None:
    allowed: dict[str, list[Any]] = {"status": ["eq", IN], "name": ["like"]}

    assert from_dict(OPEN, allowed_fields=allowed) == STATUS
    from_dict({**OPEN, "operator": "in", "value": []}, allowed_fields=allowed)
    with pytest.raises(UnsupportedOperatorError) as caught:
        from_dict({**OPEN, "operator": "like"}, allowed_fields=allowed)
    with pytest.raises(UnknownFieldError):
        from_dict({**OPEN, "attribute": "balance"}, allowed_fields=allowed)

    assert str(caught.value) == "like is not allowed for status; use =, in"


def test_empty_list_of_allowed_fields_rejects_every_field() -> None:
    with pytest.raises(UnknownFieldError):
        from_dict(OPEN, allowed_fields=[])


def test_json_input_with_a_repeated_key_is_rejected() -> None:
    text = '{"attribute": "status", "operator": "=", "attribute": "password_hash", "value": 1}'

    with pytest.raises(SpecificationError, match="twice"):
        from_json(text, allowed_fields=["status"])


def test_text_is_rejected_as_a_list_of_allowed_fields() -> None:
    asked = {"attribute": "stat", "operator": "=", "value": 1}

    with pytest.raises(ConfigError, match="list of names"):
        from_dict(asked, allowed_fields="status")


@pytest.mark.parametrize(
    "value",
    ["'; DROP TABLE accounts; --", "%s", ":name", "$1", "\\", "{0}", "__import__('os')", "a'\""],
)
def test_operands_from_input_are_never_interpreted(value: str) -> None:
    condition = from_dict({"attribute": "name", "operator": "=", "value": value})

    assert condition.is_satisfied_by(Account(value, 1))
    assert not condition.is_satisfied_by(Account("other", 1))


def test_specification_input_cannot_import_a_class() -> None:
    with pytest.raises(SpecificationError):
        from_dict({"type": "os.system", "value": "true"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
NAMES = st.sampled_from(["name", "balance", "notes", "notes.a", "__class__", "a.b", ""]) | st.text()
OPERATIONS = st.sampled_from(["=", "<", "in", "between", "like", "contains", "has_key", "regex"])
OPERATIONS |= st.sampled_from(["is_null", "is_empty", "json_contains", "path_exists", "has_all"])
CONDITIONS = st.fixed_dictionaries(
    {"attribute": NAMES | JSON, "operator": OPERATIONS | st.text() | JSON}, optional={"value": JSON}
)
TREES = st.recursive(
    CONDITIONS | JSON,
    lambda inner: (
        st.builds(lambda each: {"not": each}, inner)
        | st.builds(lambda parts: {"and": parts}, st.lists(inner, max_size=3))
        | st.builds(lambda parts: {"or": parts}, st.lists(inner, max_size=3))
    ),
    max_leaves=6,
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "where": TREES,
        "order_by": st.lists(NAMES, max_size=3) | JSON,
        "limit": JSON,
        "offset": JSON,
        "after": JSON,
        "select": st.lists(NAMES, max_size=3) | JSON,
        "distinct": JSON,
    },
)
ACCOUNTS = [Account("a", 1, notes={"a": [1, "x", None]}), Account("", -5), Account("ß%", 2**70)]


@contextmanager
def ensure_short_error() -> Iterator[None]:
    """Check that the block ends with a short ``SpecificationError``."""
    try:
        yield
    except SpecificationError as error:
        if len(str(error)) >= 1_000:
            raise AssertionError("the text is too long") from error


@settings(deadline=None, max_examples=500)
@given(data=TREES)
def test_random_specification_input_raises_specification_errors_only(data: Any) -> None:
    for candidates in (ACCOUNTS, [vars(each) for each in ACCOUNTS]):
        with ensure_short_error():
            condition = from_dict(data)
            answers = {condition.is_satisfied_by(each) for each in candidates}

            assert answers <= {True, False}
            from_dict(to_dict(condition))


@settings(deadline=None, max_examples=300)
@given(data=OPTIONS | JSON)
def test_random_query_options_raise_specification_errors_only(data: Any) -> None:
    with ensure_short_error():
        options = QueryOptions.from_dict(data)
        select(ACCOUNTS, options)
        select([vars(each) for each in ACCOUNTS], options)


@settings(deadline=None, max_examples=300)
@given(text=st.text() | st.binary() | st.from_regex(re.compile(r'[\[\]{}":,a-z0-9.]*')))
def test_random_json_text_raises_specification_errors_only(text: str | bytes) -> None:
    with ensure_short_error():
        from_json(text)


@pytest.mark.parametrize("operators", ["in", ["eqq"]])
def test_misspelled_allowed_operators_raise_config_error(operators: Any) -> None:
    asked = {"attribute": "status", "operator": "=", "value": 1}

    with pytest.raises(ConfigError, match="allowed_fields of status"):
        from_dict(asked, allowed_fields={"status": operators})


def test_query_options_with_a_lone_surrogate_cannot_be_written_as_json() -> None:
    options = QueryOptions(after=("\ud800",), ordering=("name",))

    with pytest.raises(SpecificationError):
        options.to_json()


BROKEN = {
    "and": [
        OPEN,
        {"not": {"or": [{"attribute": "a", "operator": "lke", "value": "x"}, 3]}},
        {"attribute": "b", "operator": "between", "value": 1},
    ]
}


def test_error_names_the_place_in_the_written_specification() -> None:
    with pytest.raises(UnknownOperatorError, match=r"^at and\[1\].not.or\[0\]: unknown ") as caught:
        from_dict(BROKEN)

    assert caught.value.path == "and[1].not.or[0]"


def test_validation_lists_every_problem_with_its_place() -> None:
    problems = SpecificationFactory.validate(BROKEN)

    assert [each.partition(": ")[0] for each in problems] == [
        "at and[1].not.or[0]",
        "at and[1].not.or[1]",
        "at and[2]",
    ]
    assert SpecificationFactory.validate(OPEN) == []
    (problem,) = SpecificationFactory.validate(OPEN, allowed_fields=["name"])
    assert problem.startswith("unknown field 'status'; ")
    (problem,) = SpecificationFactory.validate(nest(5_000))
    assert "levels" in problem
    (problem,) = SpecificationFactory.validate([])
    assert problem.startswith("a specification is ")


def test_validation_agrees_with_the_factory() -> None:
    accepted: list[Any] = [OPEN, nest(3), nest(MAX_LEVELS - 1), {"and": []}]
    for data in accepted:
        from_dict(data)
        assert SpecificationFactory.validate(data) == []
    rejected: list[Any] = [BROKEN, nest(MAX_LEVELS), nest(3, {}), {"not": []}]
    for data in rejected:
        with pytest.raises(SpecificationError) as caught:
            from_dict(data)
        assert str(caught.value) in SpecificationFactory.validate(data)


def test_path_of_keys_with_a_dollar_sign_is_rejected() -> None:
    with pytest.raises(SpecificationValueError, match=r"without \$, got '\$.a'; write 'a'"):
        AttributeSpecification("notes", "path_exists", "$.a")

    assert AttributeSpecification("notes", "path_exists", ["$"]).value == ("$",)
