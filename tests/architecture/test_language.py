"""Limits of the English in code, tests and docs, and tests of the code that measures it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.language import (
    AREAS,
    Prose,
    Report,
    area_files,
    findings_of,
    is_bare,
    main,
    measure,
    page_prose,
    python_prose,
)

LIMITS: Mapping[str, float] = {"what": 2, "who": 0.7, "those": 1.5, "tell": 1}
"""Occurrences of a word per 1,000 words."""
SENTENCE_STARTS = 0.005
BARE_NAMES = 0.02

ALLOWED: Mapping[tuple[str, str], str] = {
    ("tests/processes.py", "banned: nobody"): "it is the name of an account of Unix",
}
"""Reason for each allowed finding, by file and rule."""

each_area = pytest.mark.parametrize("area", AREAS)


@cache
def report_of(area: str) -> Report:
    return measure(area_files(area))


@each_area
@pytest.mark.parametrize("word", LIMITS)
def test_rate_of_a_word_is_below_its_limit(area: str, word: str) -> None:
    assert report_of(area).words > 10_000
    assert report_of(area).rate(word) < LIMITS[word]


@each_area
def test_few_sentences_begin_with_a_relative_pronoun(area: str) -> None:
    assert report_of(area).start_share < SENTENCE_STARTS


@pytest.mark.parametrize("area", ["code", "tests"])
def test_few_functions_are_named_by_a_bare_participle(area: str) -> None:
    assert report_of(area).bare_name_share < BARE_NAMES


@each_area
def test_prose_breaks_no_rule_without_a_reason(area: str) -> None:
    found = [
        str(each)
        for each in report_of(area).findings
        if each.rule != "bare name" and (each.path, each.rule) not in ALLOWED
    ]

    assert not found, "\n".join(found)


def test_every_allowed_finding_occurs() -> None:
    found = {(each.path, each.rule) for area in AREAS for each in report_of(area).findings}

    assert {*ALLOWED} <= found


def rules_of(kind: str, text: str) -> list[str]:
    return [each.rule for each in findings_of(Prose("module.py", 1, kind, text))]


@pytest.mark.parametrize(
    ("kind", "text", "rule"),
    [
        ("docstring of function", "None for an unknown id.", "docstring begins with none"),
        ("docstring of class", "Of a value: its type.", "docstring begins with of"),
        ("test name", "they are equal", "test name begins with they"),
        ("comment", "The lock is free. Who waits is next.", "sentence begins with who"),
        ("text", "The relay goes on.", "banned: go on"),
        ("message", "X is no number", "banned: is no"),
        ("text", "A lock that holds the others up.", "banned: hold up"),
    ],
)
def test_prose_that_breaks_a_rule_is_found(kind: str, text: str, rule: str) -> None:
    assert rules_of(kind, text) == [rule]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("comment", "None is the value of a missing field."),
        ("message", "the stream is no longer open, and there is no other"),
        ("text", "The category of the parking permit."),
    ],
)
def test_prose_within_the_rules_is_not_found(kind: str, text: str) -> None:
    assert rules_of(kind, text) == []


SOURCE = '''\
"""Module of orders."""

LIMIT = 3
"""Orders of a batch."""


class Order:
    """An order with ``what`` and "what" in it."""  # noqa: X

    def test_total_is_a_sum(self) -> str:
        """Return the total."""
        # The sum is taken first,
        # and rounded afterwards.
        raise ValueError(f"order {self} has no single line")
        return "SELECT what FROM those orders of who"
'''


def test_prose_of_a_python_file_is_read_by_kind() -> None:
    found = {each.kind: each.text for each in python_prose("orders.py", SOURCE) if each.text}

    assert found == {
        "docstring of module": "Module of orders.",
        "docstring of attribute": "Orders of a batch.",
        "docstring of class": "An order with X and X in it.",
        "docstring of function": "Return the total.",
        "test name": "total is a sum",
        "message": "order X has no single line",
        "comment": "The sum is taken first, and rounded afterwards.",
    }


PAGE = """\
# Orders

An order of `what` and
[its lines](what.md) of [goods][what].

[what]: glossary.md#what

| term | meaning |
|---|---|
| order | Lines of a customer. |

```python
total = what()  # The sum of the lines.
```
"""


def test_prose_of_a_page_is_read_without_its_code() -> None:
    found = [(each.line, each.text.strip()) for each in page_prose("orders.md", PAGE)]

    assert found == [
        (13, "The sum of the lines."),
        (1, "# Orders"),
        (3, "An order of X and\n[its lines] of [goods]."),
        (6, "]"),
        (8, "term \n\n meaning"),
        (9, "---\n\n---"),
        (10, "order \n\n Lines of a customer."),
    ]


@pytest.mark.parametrize("name", ["joined", "_waiting", "apart", "_among"])
def test_bare_participle_or_preposition_is_found(name: str) -> None:
    assert is_bare(name)


@pytest.mark.parametrize("name", ["join", "mark_failed", "__len__", "is_stopped"])
def test_verb_is_not_a_bare_name(name: str) -> None:
    assert not is_bare(name)


def test_command_prints_findings_with_their_line_and_the_rates(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Locks\n\nA waiter that\ngoes on.\n", "utf-8")

    assert main([str(page)]).splitlines() == [
        f"{page}:4: banned: go on: A waiter that goes on.",
        f"{page}: 6 words; per 1,000: what 0.00, who 0.00, those 0.00, tell 0.00; "
        "sentence starts 0.00%; bare names 0.0% of 0 functions",
    ]
