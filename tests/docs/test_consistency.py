"""Tests that every promise of the consistency page names a test that exists."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import groupby

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/concepts/consistency.md").read_text("utf-8")
HEADER = "| promise | holds in | proven by |"
SOURCES = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("packages/*/src/**/testing/**/*.py")]
TESTS = {
    name for path in SOURCES for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
}


def _find_tables() -> list[list[str]]:
    groups = groupby(PAGE.splitlines(), lambda line: line.startswith("|"))
    return [list(lines) for is_table, lines in groups if is_table]


def _find_rows() -> list[str]:
    return [row for table in _find_tables() for row in table[2:]]


def test_each_section_of_the_consistency_page_has_one_table_of_promises() -> None:
    sections = PAGE.split("\n## ")[1:]
    tables = _find_tables()

    assert all(table[0] == HEADER and len(table) > 2 for table in tables)
    assert [section.count(HEADER) for section in sections] == [1] * len(tables) + [0]


def test_consistency_page_loses_no_promise() -> None:
    assert len(_find_rows()) >= 94


def test_every_promise_of_the_consistency_page_names_a_test() -> None:
    for row in _find_rows():
        promise, place, proof = (cell.strip() for cell in row.strip("|").split("|"))

        assert promise, row
        assert place, row
        assert "the same" not in (promise, place), row
        assert re.search(r"`(?:test_[\w*]+|(?:testing|tests)/[\w/]+\.py)`", proof), row


def test_every_test_named_on_the_consistency_page_exists() -> None:
    named = re.findall(r"`(test_[\w*]+)`", PAGE)

    assert len(named) > 30
    for name in named:
        assert any(fnmatchcase(test, name) for test in TESTS), name


def test_every_file_named_on_the_consistency_page_exists() -> None:
    core = ROOT / "packages/core/src/cqrs_ddd_core"

    for name in re.findall(r"`((?:testing|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).exists() or (core / name).exists(), name
