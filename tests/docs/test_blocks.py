"""Every Python block of the documents is a test, however its fence is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, sybil

# Any fence that a reader takes for Python, however it is indented or titled.
PYTHON_FENCE = re.compile(r"^[ \t>]*(?:`{3,}|~{3,})[ \t{.]*(?:python\d?|py|pycon)\b", re.M | re.I)


def documents() -> list[Path]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/**/*.md")]
    return sorted(path for path in found if path.is_file())


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_fence_is_collected(path: Path) -> None:
    fences = PYTHON_FENCE.findall(path.read_text("utf-8"))

    blocks = [
        example for example in sybil.parse(path).examples() if isinstance(example.parsed, str)
    ]

    assert len(blocks) == len(fences), "open each block with exactly ```python"


def test_each_document_lies_where_pytest_looks(pytestconfig: pytest.Config) -> None:
    places = [ROOT / place for place in pytestconfig.getini("testpaths")]

    for path in documents():
        assert any(path.is_relative_to(place) for place in places), path


@pytest.mark.parametrize("opening", ["```python title='x'", "```py", "``` python", "~~~python"])
def test_a_fence_that_the_runner_passes_over_is_noticed(opening: str) -> None:
    assert PYTHON_FENCE.search(f"text\n\n{opening}\n1 / 0\n")
