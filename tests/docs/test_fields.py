"""Tests that the page of fields shows the cases of the test."""

from __future__ import annotations

from tests.docs.fields import PAGE, render_page


def test_page_of_fields_is_up_to_date() -> None:
    text = PAGE.read_text("utf-8")

    assert text == render_page(text), "run `make fields`"
