"""The example of the README on each backend, by changing one of its lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.packages import PACKAGES, Package
from tests.databases import new_database
from tests.docs.glossary import without_links

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
BACKEND = re.compile(r"^backend = .*$", re.MULTILINE)


@pytest.mark.parametrize("backend", ["as printed", "fakes", "file", "postgresql"])
def test_readme_example_runs_on_each_backend_by_changing_one_line(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str
) -> None:
    example = EXAMPLE
    if backend != "as printed":
        changed = f"backend = {_create_backend(backend, request)}"
        example, count = BACKEND.subn(lambda _: changed, EXAMPLE)
        assert count == 1
    (tmp_path / "bank.py").write_text(example, "utf-8")

    done = subprocess.run(
        [sys.executable, "bank.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("350 [{'cents': 350}]\n", "")


def _create_backend(backend: str, request: pytest.FixtureRequest) -> str:
    if backend == "fakes":
        return "InMemoryBackend()"
    url = "sqlite+aiosqlite:///bank.db"
    if backend == "postgresql":
        url = new_database(request.getfixturevalue("postgres_url"))
    return f"SQLAlchemyBackend({url!r}, create_schema=True)"


def test_readme_example_has_few_lines_of_imports_and_composition() -> None:
    imports = re.findall(r"^from cqrs_ddd_.* import [^(\n]+$", EXAMPLE, re.MULTILINE)
    composition = EXAMPLE.partition("# The composition root.")[2].partition("\n\n")[0]

    assert len(imports) == len(re.findall("cqrs_ddd_.* import", EXAMPLE)) <= 4
    assert len(composition.splitlines()) - 1 <= 6


def _find_extras(package: Package) -> set[str]:
    return set(package.project().get("optional-dependencies", ()))


def test_readme_describes_each_package_by_its_summary() -> None:
    table = re.findall(r"^\| `(cqrs-ddd-[\w-]+)` \| (.*?) \|", without_links(README), re.MULTILINE)

    assert dict(table) == {each.name: each.project()["description"] for each in PACKAGES}


def test_readme_has_one_line_that_installs_every_package_and_every_extra() -> None:
    (line,) = [each for each in README.splitlines() if each.count("./packages/") == len(PACKAGES)]

    for package in PACKAGES:
        place = package.folder.relative_to(ROOT).as_posix()
        (extras,) = re.findall(rf"\./{place}(?:\[([\w,]+)\])?(?=[\s\"]|$)", line)
        assert set(filter(None, extras.split(","))) == _find_extras(package) - {"geometry"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_readme_of_a_package_names_its_extras_and_no_other(package: Package) -> None:
    text = (package.folder / "README.md").read_text("utf-8")
    named = set(re.findall(rf"{package.name}\[(\w+)\]", text))
    named |= set(re.findall(r"The extra `(\w+)`", text))

    assert named == _find_extras(package)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_readme_of_a_package_has_an_example_that_is_a_script(package: Package) -> None:
    text = (package.folder / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    assert len(blocks) == 1
    compile(blocks[0], "README.md", "exec")
