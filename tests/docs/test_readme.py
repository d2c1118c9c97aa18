"""The example of the README on each backend, by changing one of its lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import new_database

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
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
