"""Contents of the archives that users install: the code, its types, the licence, nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.architecture.packages import CORE, PACKAGES, ROOT, Package

PYDANTIC_AND_BELOW = {
    "annotated-types",
    "pydantic",
    "pydantic-core",
    "typing-extensions",
    "typing-inspection",
}
OF_THE_ENVIRONMENT = {"pip", "setuptools"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheels, each from its source distribution, and return the folder of both."""
    folder = tmp_path_factory.mktemp("wheels")
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    run([uv, "build", "--quiet", "--all-packages", "--out-dir", str(folder)])
    return folder


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wheel_of(package: Package, wheels: Path) -> Path:
    (wheel,) = wheels.glob(f"{package.name.replace('-', '_')}-[0-9]*.whl")
    return wheel


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_wheel_contains_the_package_and_its_types_only(package: Package, wheels: Path) -> None:
    with zipfile.ZipFile(wheel_of(package, wheels)) as wheel:
        names = wheel.namelist()
        (metadata_name,) = (name for name in names if name.endswith("/METADATA"))
        metadata = wheel.read(metadata_name).decode("utf-8")

    assert f"{package.import_name}/py.typed" in names
    folder = package.folder / "src"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} <= set(names)
    tops = {name.partition("/")[0] for name in names}
    assert tops == {package.import_name, metadata_name.partition("/")[0]}
    assert " @ " not in metadata, "a dependency is pinned to a place instead of a version range"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_wheel_and_source_distribution_contain_the_licence(package: Package, wheels: Path) -> None:
    licence = (ROOT / "LICENSE").read_bytes()
    with zipfile.ZipFile(wheel_of(package, wheels)) as wheel:
        (folder,) = {name.partition("/")[0] for name in wheel.namelist()} - {package.import_name}
        assert wheel.read(f"{folder}/licenses/LICENSE") == licence
        of_wheel = wheel.read(f"{folder}/METADATA").decode("utf-8").splitlines()
    (source,) = wheels.glob(f"{package.import_name}-[0-9]*.tar.gz")
    with tarfile.open(source) as archive:
        folder = source.name.removesuffix(".tar.gz")
        assert read_member(archive, f"{folder}/LICENSE") == licence
        of_source = read_member(archive, f"{folder}/PKG-INFO").decode("utf-8").splitlines()

    for metadata in (of_wheel, of_source):
        assert {"License-Expression: MIT", "License-File: LICENSE"} <= {*metadata}


def read_member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None
    return member.read()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_package_has_a_copy_of_the_licence(package: Package) -> None:
    assert (package.folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.full
@pytest.mark.slow
def test_core_installs_with_pydantic_alone(wheels: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = str(tmp_path / "environment/bin/python")

    run([python, "-m", "pip", "install", "--quiet", str(wheel_of(CORE, wheels))])

    run([python, "-I", "-c", f"import {CORE.import_name}"])
    listing = run([python, "-m", "pip", "list", "--format", "json"])
    installed = {entry["name"].lower().replace("_", "-") for entry in json.loads(listing)}
    assert installed - OF_THE_ENVIRONMENT <= {CORE.name, *PYDANTIC_AND_BELOW}
