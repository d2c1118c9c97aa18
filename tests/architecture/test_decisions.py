"""Number, date and status of each decision, and the table that lists them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from tests.architecture.packages import ROOT

FOLDER = ROOT / "docs/adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
HEAD = re.compile(
    r"\A# (?P<title>(?P<number>\d+)\. .+)\n\n"
    r"Status: (?P<status>accepted|superseded by \[(?P<later>\d+)\]\((?P<file>\S+?)\)), "
    r"(?P<date>\d{4}-\d\d-\d\d)\.\n\n"
)

each_record = pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem[:4])


def read_head(path: Path) -> re.Match[str]:
    head = HEAD.match(path.read_text("utf-8"))
    assert head, f"{path.name} must begin with '# N. Title' and 'Status: accepted, YYYY-MM-DD.'"
    return head


@each_record
def test_decision_has_the_number_of_its_file_name_a_status_and_a_date(path: Path) -> None:
    head = read_head(path)

    assert int(head["number"]) == int(path.name[:4])
    assert date.fromisoformat(head["date"]) <= date.today()


@each_record
def test_superseded_decision_links_a_later_decision(path: Path) -> None:
    head = read_head(path)

    if head["later"]:
        assert int(head["later"]) > int(head["number"])
        assert (FOLDER / head["file"]).is_file()
        assert int(head["later"]) == int(head["file"][:4])


def test_decisions_are_numbered_without_gaps_in_the_order_of_their_dates() -> None:
    heads = [read_head(path) for path in RECORDS]

    assert [int(head["number"]) for head in heads] == list(range(1, len(RECORDS) + 1))
    dates = [head["date"] for head in heads]
    assert dates == sorted(dates)


def test_table_of_decisions_repeats_each_title_date_and_status() -> None:
    rows = [row for row in (FOLDER / "index.md").read_text("utf-8").splitlines() if "](0" in row]

    heads = {path.name: read_head(path) for path in RECORDS}
    assert rows == [
        f"| [{head['title']}]({name}) | {head['date']} | {head['status']} |"
        for name, head in heads.items()
    ]


@pytest.mark.parametrize(
    "text",
    [
        "# 1. Title\n\n**Context.**",
        "# 1. Title\n\nStatus: accepted.\n\n",
        "# 1. Title\n\nStatus: superseded, 2026-11-21.\n\n",
        "# Title\n\nStatus: accepted, 2026-11-21.\n\n",
    ],
)
def test_head_without_number_date_or_later_decision_is_not_accepted(text: str) -> None:
    assert HEAD.match(text) is None
