"""The comparison of two revisions reports a row only if its middle halves do not overlap."""

from __future__ import annotations

from tests.benchmarks.compare import format_table, judge, middle_half

NOISY = [1.0, 1.1, 1.2, 1.3, 9.0, 0.2, 1.1, 1.2, 1.0, 1.3]


def test_middle_half_leaves_out_extremes() -> None:
    assert middle_half(NOISY) == (1.0, 1.3)


def test_row_with_overlapping_middle_halves_is_neither_slower_nor_faster() -> None:
    assert judge(NOISY, [ratio + 0.2 for ratio in NOISY]) == ""


def test_row_with_separate_middle_halves_is_slower_or_faster() -> None:
    slower = [ratio + 0.4 for ratio in NOISY]

    assert judge(NOISY, slower) == "slower"
    assert judge(slower, NOISY) == "faster"


def test_row_of_one_revision_only_is_named_as_new_or_gone() -> None:
    report = format_table({"old row": [1.0]}, {"new row": [1.0]})

    assert [line.split()[-1] for line in report.splitlines()[1:]] == ["new", "gone"]
