"""The page of operators is that of the table."""

from __future__ import annotations

from cqrs_ddd_specifications import OPERATORS
from tests.docs.operators import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make operators`"


def test_every_operator_and_every_spelling_is_on_it() -> None:
    text = PAGE.read_text("utf-8")

    for operator in OPERATORS:
        for spelling in (operator.name, *operator.spellings):
            assert f"`{spelling}`" in text
