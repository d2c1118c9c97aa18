"""Tests that every Python block and console command of the documents is run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sybil import Document

from cqrs_ddd_core import DomainEvent
from cqrs_ddd_core.domain.events import default_event_registry
from cqrs_ddd_core.primitives.exceptions import UnknownTypeError
from tests.docs.blocks import ROOT, close_document, sybil

# Any fence of a Python block, with any indentation and title.
PYTHON_FENCE = re.compile(r"^[ \t>]*(?:`{3,}|~{3,})[ \t{.]*(?:python\d?|py|pycon)\b", re.M | re.I)
# Any command at a prompt, anywhere in a block of any language.
COMMAND = re.compile(r"^[ \t>]*\$ ", re.M)


def find_documents() -> list[Path]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/**/*.md")]
    return sorted(path for path in found if path.is_file())


@pytest.mark.parametrize("path", find_documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_block_of_the_documents_is_collected(path: Path) -> None:
    fences = PYTHON_FENCE.findall(path.read_text("utf-8"))

    assert len(_parse_blocks(path, "python")) == len(fences), (
        "open each block with exactly ```python"
    )


@pytest.mark.parametrize("path", find_documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_console_command_of_the_documents_is_collected(path: Path) -> None:
    commands = COMMAND.findall(path.read_text("utf-8"))

    collected = "".join(_parse_blocks(path, "console"))

    assert len(COMMAND.findall(collected)) == len(commands), (
        "open the block with exactly ```console, and begin it with a command"
    )


def _parse_blocks(path: Path, language: str) -> list[str]:
    examples = sybil.parse(path).examples()
    return [
        str(each.parsed) for each in examples if each.region.lexemes.get("arguments") == language
    ]


def test_every_document_is_in_a_test_path_of_pytest(pytestconfig: pytest.Config) -> None:
    places = [ROOT / place for place in pytestconfig.getini("testpaths")]

    for path in find_documents():
        assert any(path.is_relative_to(place) for place in places), path


@pytest.mark.parametrize("opening", ["```python title='x'", "```py", "``` python", "~~~python"])
def test_python_fence_in_another_spelling_is_detected(opening: str) -> None:
    assert PYTHON_FENCE.search(f"text\n\n{opening}\n1 / 0\n")


Run = Callable[[str], None]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Return a function that runs the blocks of a text in order."""
    document: Document | None = None

    def run_text(text: str) -> None:
        nonlocal document
        page = tmp_path / "page.md"
        page.write_text(text, "utf-8")
        document = sybil.parse(page)
        for example in document.examples():
            example.evaluate()

    yield run_text
    if document is not None:
        close_document(document.namespace)


def _fence(language: str, *blocks: str) -> str:
    return "\n".join(f"```{language}\n{block}\n```\n" for block in blocks)


def test_python_block_with_a_path_becomes_a_module(run: Run) -> None:
    run(
        _fence(
            "python",
            "# kiosk/__init__.py",
            "# kiosk/prices.py\nTEA = 3",
            "from kiosk.prices import TEA\n\nassert TEA == 3",
        )
    )


def test_module_that_a_page_writes_again_is_imported_again(run: Run) -> None:
    run(
        _fence(
            "python",
            "# kiosk/prices.py\nTEA = 3",
            "# kiosk/menu.py\nfrom kiosk.prices import TEA",
            "# kiosk/prices.py\nTEA = 4",
            "from kiosk.menu import TEA\n\nassert TEA == 4",
        )
    )


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("# kiosk/prices.py\nfrom kiosk.menu import TEA", ModuleNotFoundError),
        ("# kiosk/prices.py\nTEA = 1 / 0", ZeroDivisionError),
        ("# kiosk.py\ndef", SyntaxError),
        ("# a comment, and no path\nassert False", AssertionError),
    ],
)
def test_block_with_an_invalid_file_fails(run: Run, block: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        run(_fence("python", block))


def test_console_command_runs_in_the_folder_of_the_files(run: Run) -> None:
    run(
        _fence("python", "# kiosk.py\nprint('tea', 3)\nprint('cup = 8')")
        + _fence("console", "$ python kiosk.py\ntea ...\ncup = 8")
        + _fence("console", "$ python kiosk.py | grep cup > menu.py\n$ ls *.py\nkiosk.py\nmenu.py")
        + _fence("python", "import menu\n\nassert menu.cup == 8")
    )


@pytest.mark.parametrize(
    "block",
    [
        "$ python -c 'print(1)'\n2",
        "$ python -c 'print(1)'",
        "$ python -c 'pass'\n1",
        "$ python -c 'print(1)'\n1\n$ python -c 'print(2)'\n1",
        "$ python -c 'print(1); raise SystemExit(1)'\n1",
        "$ python -c 'import sys; print(1, file=sys.stderr)'",
        "$ no-such-command\n...",
    ],
)
def test_console_command_with_an_error_or_another_output_fails(run: Run, block: str) -> None:
    with pytest.raises(AssertionError, match="instead of"):
        run(_fence("console", block))


def test_console_block_without_a_prompt_is_not_run(run: Run) -> None:
    run(_fence("console", "no-such-command\n"))


def test_module_replaced_by_a_document_is_restored(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(_fence("python", "# tests/__init__.py", "# tests/kiosk.py"), "utf-8")
    document, ours = sybil.parse(page), sys.modules["tests.docs.blocks"]
    try:
        for example in document.examples():
            example.evaluate()
    finally:
        close_document(document.namespace)

    assert sys.modules["tests.docs.blocks"] is ours
    assert "tests.kiosk" not in sys.modules


def test_closed_document_leaves_no_folder_module_or_event_class(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "other.md"
    event = "from cqrs_ddd_core import DomainEvent\n\n\nclass TeaSold(DomainEvent):\n    pass"
    page.write_text(_fence("python", f"# kiosk/prices.py\n{event}"), "utf-8")
    document, before, search = sybil.parse(page), Path.cwd(), list(sys.path)
    for example in document.examples():
        example.evaluate()
    folder = Path.cwd()

    close_document(document.namespace)

    assert folder != before
    assert not folder.exists()
    assert (Path.cwd(), sys.path) == (before, search)
    assert "kiosk" not in sys.modules
    assert "kiosk.prices" not in sys.modules
    with pytest.raises(UnknownTypeError):
        default_event_registry.get("TeaSold")


class Borrowed(DomainEvent):
    """Event of a test with a name that the block below uses, too."""


def test_block_may_name_its_event_like_the_event_of_a_test(run: Run) -> None:
    run(
        _fence(
            "python",
            "from cqrs_ddd_core import DomainEvent\n"
            "from cqrs_ddd_core.domain.events import default_event_registry\n\n\n"
            "class Borrowed(DomainEvent):\n    pass\n",
            "assert default_event_registry.get('Borrowed') is Borrowed",
        )
    )
