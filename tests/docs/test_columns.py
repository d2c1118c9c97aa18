"""Tests that the page of column types shows the cases of the test."""

from __future__ import annotations

from tests.docs.columns import PAGE, render_page


def test_page_of_column_types_is_up_to_date() -> None:
    text = PAGE.read_text("utf-8")

    assert text == render_page(text), "run `make columns`"
