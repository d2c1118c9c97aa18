"""Configuration that keeps the check of types, and a run of the checked application."""

from __future__ import annotations

import re
import sys

import pytest

from cqrs_ddd_core import IBackend
from tests.architecture.packages import ROOT
from tests.typing.__main__ import FILES, find_marked_lines, find_reported_lines
from tests.typing.application import create_backends, use_application

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
ESCAPES = re.compile(r"type: ?ignore|pyright:|\bcast\b|\bAny\b")


def test_type_checkers_are_strict_and_have_no_rule_switched_off() -> None:
    assert TOOLS["basedpyright"] == {
        "include": ["tests/typing"],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.10",
        "enableTypeIgnoreComments": False,
    }
    assert TOOLS["mypy"]["strict"]
    assert "disable_error_code" not in TOOLS["mypy"]


def test_mypy_leaves_only_the_mistakes_to_the_check_of_the_folder() -> None:
    (excluded,) = (each for each in TOOLS["mypy"]["exclude"] if "typing" in each)

    paths = [file.relative_to(ROOT).as_posix() for file in FILES]

    assert [path for path in paths if re.search(excluded, path)] == ["tests/typing/mistakes.py"]


def test_make_types_checks_the_application_with_both_checkers() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\ntypes: ")[2].partition("\n\n")[0]

    assert re.findall(r"\$\(RUN\) (.+)", recipe) == ["mypy", "python -m tests.typing"]


@pytest.mark.parametrize("name", ["application.py", "mistakes.py"])
def test_checked_file_has_no_escape_from_its_types(name: str) -> None:
    (text,) = (file.read_text("utf-8") for file in FILES if file.name == name)

    assert ESCAPES.findall(text) == []


def test_mistakes_are_marked_in_one_file_only() -> None:
    assert {file.name for file, _ in find_marked_lines()} == {"mistakes.py"}


def test_reports_of_both_checkers_are_read() -> None:
    mypy = "tests/a.py:3: error: x\ntests/a.py:4: note: y\n"
    pyright = "/tests\n  /tests/b.py:5:2 - error: x\n  /tests/b.py:6:2 - warning: y\n"

    lines = find_reported_lines(mypy + pyright)

    assert {(path.name, number) for path, number in lines} == {("a.py", 3), ("b.py", 5)}


@pytest.mark.parametrize("backend", create_backends(), ids=lambda backend: type(backend).__name__)
async def test_checked_application_runs(backend: IBackend) -> None:
    await use_application(backend)
