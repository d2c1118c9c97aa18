"""Tests that the page on the organization of packages names every folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/package-organization.md").read_text("utf-8")


def _find_names(section: str) -> set[str]:
    """Return the names in the first column of the table of a section."""
    (text,) = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return {
        name.rstrip("/")
        for row in text.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }


def _find_folders(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if any(path.glob("*.py"))}


def test_page_names_exactly_the_folders_of_core() -> None:
    assert _find_names("Core") == _find_folders(ROOT / "packages/core/src/cqrs_ddd_core")


def test_page_names_exactly_the_folders_of_the_advanced_package() -> None:
    assert _find_names("Advanced") == _find_folders(
        ROOT / "packages/advanced/src/cqrs_ddd_advanced_core"
    ) - {"."}


def test_page_names_exactly_the_packages() -> None:
    packages = {
        str(path.parent.relative_to(ROOT)) for path in ROOT.glob("packages/**/pyproject.toml")
    }

    assert _find_names("Packages") == packages


def test_page_names_exactly_the_folders_of_the_tests() -> None:
    assert _find_names("Tests") == _find_folders(ROOT / "tests")


def test_every_top_level_folder_named_on_the_page_exists() -> None:
    for name in _find_names("Top-level folder"):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize(
    ("section", "package"),
    [
        ("Specifications", "specifications/src/cqrs_ddd_specifications"),
        ("SQLAlchemy", "persistence/sqlalchemy/src/cqrs_ddd_persistence_sqlalchemy"),
    ],
)
def test_page_names_exactly_the_modules_of_a_flat_package(section: str, package: str) -> None:
    root = ROOT / "packages" / package
    modules = {path.name for path in root.glob("*.py")} - {"__init__.py"}

    assert _find_names(section) == modules | _find_folders(root)


def test_page_names_exactly_the_modules_of_core_outside_the_folders() -> None:
    core = ROOT / "packages/core/src/cqrs_ddd_core"
    modules = {path.name for path in core.glob("*.py")} - {"__init__.py"}
    (text,) = re.findall(r"^Modules outside the folders: .*?$.*?\n\n", PAGE, re.M | re.S)

    assert set(re.findall(r"`(\w+\.py)`", text)) == modules
