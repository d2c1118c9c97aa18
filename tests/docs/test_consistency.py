"""Every promise of the guarantee matrix names a test that exists."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/concepts/consistency.md").read_text("utf-8")
SOURCES = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("packages/*/src/**/testing/**/*.py")]
TESTS = {
    name for path in SOURCES for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
}


def _rows() -> list[str]:
    return [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line][1:]


def test_every_row_names_its_proof() -> None:
    rows = _rows()

    assert len(rows) > 20
    for row in rows:
        proof = row.split("|")[3]
        assert "`" in proof or "the same" in proof, row


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(test_[\w*]+)`", PAGE)

    assert len(named) > 30
    for name in named:
        assert any(fnmatchcase(test, name) for test in TESTS), name


def test_every_named_file_exists() -> None:
    core = ROOT / "packages/core/src/cqrs_ddd_core"

    for name in re.findall(r"`((?:testing|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).exists() or (core / name).exists(), name
