"""Checks before a release, and the links in the metadata of its archives."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.architecture.packages import PACKAGES, ROOT, Package
from tests.project import release

URL = "https://host.example/owner/name"


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, list[Package]]:
    """Return a tree of two packages that is ready for 0.2.0."""
    packages = [Package(tmp_path / name, name, name) for name in ("shop-core", "shop-sql")]
    requirements = ('"pydantic>=2"', '"shop-core>=0.2,<0.3"')
    for package, requirement in zip(packages, requirements, strict=True):
        package.folder.mkdir()
        (package.folder / "pyproject.toml").write_text(
            f'[project]\nname = "{package.name}"\nversion = "0.2.0"\n'
            f"dependencies = [{requirement}]\n",
            "utf-8",
        )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/changelog.md").write_text("# Changelog\n\n## 0.2.0 (2027-01-31)\n", "utf-8")
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d/README.md").write_text("How to write fragments.\n", "utf-8")
    return tmp_path, packages


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def test_tree_with_one_version_and_a_changelog_is_ready(tree: tuple[Path, list[Package]]) -> None:
    root, packages = tree

    assert release.find_problems("0.2.0", packages, root) == []


def test_version_of_a_package_that_differs_from_the_tag_is_a_problem(
    tree: tuple[Path, list[Package]],
) -> None:
    root, packages = tree
    edit(root / "shop-core/pyproject.toml", '"0.2.0"', '"0.1.0"')

    assert release.find_problems("0.2.0", packages, root) == [
        "shop-core has the version 0.1.0, not 0.2.0"
    ]


def test_bound_between_packages_that_excludes_the_version_is_a_problem(
    tree: tuple[Path, list[Package]],
) -> None:
    root, packages = tree
    edit(root / "shop-sql/pyproject.toml", ">=0.2,<0.3", ">=0.1,<0.2")

    assert release.find_problems("0.2.0", packages, root) == [
        "shop-sql requires shop-core>=0.1,<0.2, which excludes 0.2.0"
    ]


@pytest.mark.parametrize(
    ("heading", "problem"),
    [
        ("## 0.2.0", "has no section '## 0.2.0 (YYYY-MM-DD)'"),
        ("## 0.1.0 (2027-01-31)", "has no section '## 0.2.0 (YYYY-MM-DD)'"),
        ("## 0.2.0 (2027-01-31)\n\n## [Unreleased]", "has an [Unreleased] section"),
    ],
)
def test_changelog_without_the_version_is_a_problem(
    tree: tuple[Path, list[Package]], heading: str, problem: str
) -> None:
    root, packages = tree
    edit(root / "docs/changelog.md", "## 0.2.0 (2027-01-31)", heading)

    (found,) = release.find_problems("0.2.0", packages, root)
    assert problem in found


def test_fragment_that_is_not_in_the_changelog_is_a_problem(
    tree: tuple[Path, list[Package]],
) -> None:
    root, packages = tree
    (root / "changelog.d/+carts.added.md").write_text("Carts.\n", "utf-8")

    (found,) = release.find_problems("0.2.0", packages, root)
    assert "+carts.added.md" in found
    assert "make changelog VERSION=0.2.0" in found


def test_changelog_target_moves_a_fragment_into_a_section_that_the_check_accepts(
    tree: tuple[Path, list[Package]],
) -> None:
    root, packages = tree
    for name in ("docs/changelog.md", "pyproject.toml"):
        (root / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    (root / "changelog.d/+carts.added.md").write_text("Carts with a limit.\n", "utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)

    command = "-m towncrier build --yes --version 0.2.0 --date 2027-01-31"
    subprocess.run([sys.executable, *command.split()], cwd=root, check=True, capture_output=True)

    changelog = (root / "docs/changelog.md").read_text("utf-8")
    _, _, new = changelog.partition("below this line -->\n")
    assert new.startswith("\n## 0.2.0 (2027-01-31)\n\n### Added\n\n- Carts with a limit.\n\n")
    assert not (root / "changelog.d/+carts.added.md").exists()
    edit(root / "docs/changelog.md", "[Unreleased] ", "")
    assert release.find_problems("0.2.0", packages, root) == []


@pytest.mark.parametrize("target", ["changelog", "release-check", "release-build"])
def test_release_target_without_its_setting_names_the_setting(target: str) -> None:
    setting = "URL" if target == "release-build" else "VERSION"

    done = subprocess.run(
        ["make", target, f"{setting}="], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert f"make {target} needs {setting}, for example: make {target} {setting}=" in done.stderr


@pytest.mark.parametrize("address", ["", "http://host/owner/name", "https://host", "owner/name"])
def test_address_that_is_not_a_public_repository_is_rejected(address: str) -> None:
    with pytest.raises(SystemExit, match="must look like https://host/owner/name"):
        release.project_urls(address, "0.1.0")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "dist"
    release.main(["build", f"{URL}/", "--out-dir", str(folder)])
    return folder


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_archives_of_a_release_have_links_to_the_project(package: Package, archives: Path) -> None:
    version = package.project()["version"]
    (wheel_file,) = archives.glob(f"{package.import_name}-*.whl")
    with zipfile.ZipFile(wheel_file) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        of_wheel = wheel.read(name).decode("utf-8")
    (source_file,) = archives.glob(f"{package.import_name}-*.tar.gz")
    with tarfile.open(source_file) as source:
        member = source.extractfile(f"{package.import_name}-{version}/PKG-INFO")
        assert member is not None
        of_source = member.read().decode("utf-8")

    for metadata in (of_wheel, of_source):
        links = [line for line in metadata.splitlines() if line.startswith("Project-URL: ")]
        assert sorted(links) == [
            f"Project-URL: Changelog, {URL}/blob/v{version}/docs/changelog.md",
            f"Project-URL: Documentation, {URL}/blob/v{version}/docs/index.md",
            f"Project-URL: Homepage, {URL}",
            f"Project-URL: Issues, {URL}/issues",
            f"Project-URL: Repository, {URL}",
        ]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_package_itself_names_no_address(package: Package) -> None:
    assert "urls" not in package.project()
