"""Name, readme, dependencies and version of each package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.packages import CORE, PACKAGES, ROOT, Package

DEPENDENCIES = {
    "cqrs-ddd-core": {"pydantic"},
    "cqrs-ddd-advanced-core": {"cqrs-ddd-core"},
    "cqrs-ddd-specifications": {"cqrs-ddd-core"},
    "cqrs-ddd-persistence-sqlalchemy": {
        "aiosqlite",
        "cqrs-ddd-core",
        "cqrs-ddd-specifications",
        "sqlalchemy",
    },
    "cqrs-ddd-redis": {"cqrs-ddd-core", "redis"},
}
README_LINES = 80

each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


def test_every_package_of_the_tree_is_listed_in_the_architecture_tests() -> None:
    folders = {path.parent for path in ROOT.glob("packages/**/pyproject.toml")}

    assert folders == {package.folder for package in PACKAGES}


@each_package
def test_package_has_its_expected_name_root_and_type_marker(package: Package) -> None:
    assert package.project()["name"] == package.name
    assert (package.source / "__init__.py").is_file()
    assert (package.source / "py.typed").is_file()


@each_package
def test_package_readme_is_short_and_not_inside_the_source(package: Package) -> None:
    readme = package.folder / "README.md"

    assert len(readme.read_text("utf-8").splitlines()) <= README_LINES
    assert not list((package.folder / "src").rglob("README*"))


@each_package
def test_package_has_exactly_its_allowed_dependencies(package: Package) -> None:
    assert package.required_names() == DEPENDENCIES[package.name]


def test_all_packages_have_one_version() -> None:
    assert len({package.project()["version"] for package in PACKAGES}) == 1


@each_package
def test_package_import_loads_no_optional_dependency(package: Package) -> None:
    code = f"import sys, {package.import_name}; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    optional = {"asyncpg", "geoalchemy2", "shapely"}
    if package.import_name != "cqrs_ddd_persistence_sqlalchemy":
        optional |= {"aiosqlite", "sqlalchemy"}
    if package.import_name != "cqrs_ddd_redis":
        optional |= {"redis"}
    if package.import_name != "cqrs_ddd_advanced_core":
        optional |= {"cqrs_ddd_advanced_core"}
    assert not optional & set(loaded)


def test_core_is_imported_without_its_test_kit() -> None:
    code = f"import sys, {CORE.import_name}; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not [name for name in loaded if name.startswith(("cqrs_ddd_core.testing", "pytest"))]
