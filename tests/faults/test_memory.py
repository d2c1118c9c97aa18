"""The order system needs no more memory for a larger file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.order_memory import MAY_GROW, Kept, peaks

LINES, PADDING = 10, 480


@pytest.mark.slow
def test_a_hundred_times_as_many_lines_need_no_more_memory(tmp_path: Path) -> None:
    found = peaks(tmp_path, lines=LINES, padding=PADDING)

    assert found.growth < MAY_GROW, found


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["lines", "responses"])
def test_a_program_that_keeps_what_it_read_or_got_needs_more(tmp_path: Path, kept: Kept) -> None:
    found = peaks(tmp_path, lines=LINES, padding=PADDING, kept=kept)

    assert found.growth > MAY_GROW, found
