"""The map shows the land."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/package-organization.md").read_text("utf-8")


def _named(section: str) -> set[str]:
    """What stands in the first cells of a section's table."""
    (text,) = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return {
        name.rstrip("/")
        for row in text.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }


def _folders(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if any(path.glob("*.py"))}


def test_every_folder_of_core_is_named_and_nothing_else() -> None:
    assert _named("Core") == _folders(ROOT / "packages/core/src/cqrs_ddd_core")


def test_every_folder_of_the_advanced_package_is_named_and_nothing_else() -> None:
    assert _named("Advanced") == _folders(ROOT / "packages/advanced/src/cqrs_ddd_advanced_core") - {
        "."
    }


def test_every_package_is_named_and_nothing_else() -> None:
    packages = {
        str(path.parent.relative_to(ROOT)) for path in ROOT.glob("packages/**/pyproject.toml")
    }

    assert _named("Packages") == packages


def test_every_folder_of_the_tests_is_named_and_nothing_else() -> None:
    assert _named("Tests") == _folders(ROOT / "tests")


def test_everything_at_the_top_exists() -> None:
    for name in _named("Top-level folder"):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize(
    ("section", "package"),
    [
        ("Specifications", "specifications/src/cqrs_ddd_specifications"),
        ("SQLAlchemy", "persistence/sqlalchemy/src/cqrs_ddd_persistence_sqlalchemy"),
    ],
)
def test_every_module_of_a_flat_package_is_named_and_nothing_else(
    section: str, package: str
) -> None:
    root = ROOT / "packages" / package
    modules = {path.name for path in root.glob("*.py")} - {"__init__.py"}

    assert _named(section) == modules | _folders(root)


def test_modules_beside_the_folders_exist() -> None:
    core = ROOT / "packages/core/src/cqrs_ddd_core"
    modules = {path.name for path in core.glob("*.py")} - {"__init__.py"}
    (told,) = re.findall(r"^Modules outside the folders: .*?$.*?\n\n", PAGE, re.M | re.S)

    assert set(re.findall(r"`(\w+\.py)`", told)) == modules
