"""Tests that the page of operators shows the current table."""

from __future__ import annotations

from cqrs_ddd_specifications import OPERATORS
from tests.docs.operators import PAGE, render_page


def test_page_of_operators_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == render_page(), "run `make operators`"


def test_every_operator_and_spelling_is_on_the_page() -> None:
    text = PAGE.read_text("utf-8")

    for operator in OPERATORS:
        for spelling in (operator.name, *operator.spellings):
            assert f"`{spelling}`" in text
