"""The order system needs no more memory for a larger file, nor a projection for more events."""

from __future__ import annotations

from pathlib import Path

import pytest

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests import projection_memory
from tests.faults.crashing import Place
from tests.order_memory import MAY_GROW, Kept, peaks

LINES, PADDING = 10, 480
EVENTS = (2_000, 20_000)


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


@pytest.mark.slow
def test_a_hundred_times_as_many_lines_need_no_more_memory(tmp_path: Path) -> None:
    found = peaks(tmp_path, lines=LINES, padding=PADDING)

    assert found.growth < MAY_GROW, found


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "lines"), [("lines", LINES), ("responses", LINES // 2)])
def test_a_program_that_keeps_what_it_read_or_got_needs_more(
    tmp_path: Path, kept: Kept, lines: int
) -> None:
    found = peaks(tmp_path, lines=lines, padding=PADDING, kept=kept)

    assert found.growth > MAY_GROW, found


@pytest.mark.slow
async def test_a_worker_needs_no_more_memory_for_ten_times_as_many_events(place: Place) -> None:
    found = await projection_memory.peaks(place, EVENTS)

    print(found)  # noqa: T201
    assert found.growth < projection_memory.MAY_GROW, found


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_a_worker_that_keeps_what_it_read_needs_more(place: Place) -> None:
    found = await projection_memory.peaks(place, EVENTS, is_naive=True)

    assert found.growth > projection_memory.MAY_GROW, found
