"""Tests that memory grows neither with the file of an import nor with projected events."""

from __future__ import annotations

from pathlib import Path

import pytest

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests import projection_memory
from tests.faults.crashing import Place
from tests.faults.sizes import ORDER_LINES, PROJECTED_EVENTS
from tests.order_memory import MAX_GROWTH, Kept, measure_peaks

PADDING = 480


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


@pytest.mark.full
@pytest.mark.slow
def test_import_of_a_hundred_times_as_many_lines_needs_no_more_memory(tmp_path: Path) -> None:
    found = measure_peaks(tmp_path, lines=ORDER_LINES, padding=PADDING)

    assert found.growth < MAX_GROWTH, found


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "lines"), [("lines", ORDER_LINES), ("responses", ORDER_LINES // 2)]
)
def test_memory_check_catches_an_import_that_keeps_lines_or_responses(
    tmp_path: Path, kept: Kept, lines: int
) -> None:
    found = measure_peaks(tmp_path, lines=lines, padding=PADDING, kept=kept)

    assert found.growth > MAX_GROWTH, found


@pytest.mark.full
@pytest.mark.slow
async def test_projection_worker_needs_no_more_memory_for_ten_times_as_many_events(
    place: Place,
) -> None:
    found = await projection_memory.measure_peaks(place, PROJECTED_EVENTS)

    print(found)  # noqa: T201
    assert found.growth < projection_memory.MAX_GROWTH, found


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_memory_check_catches_a_projection_worker_that_keeps_events(place: Place) -> None:
    found = await projection_memory.measure_peaks(place, PROJECTED_EVENTS, is_naive=True)

    assert found.growth > projection_memory.MAX_GROWTH, found
