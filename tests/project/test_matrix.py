"""The matrix of versions agrees with the packages, the Makefile and the documentation."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.architecture.packages import PACKAGES, ROOT, Package
from tests.project import matrix
from tests.project.matrix import KEYS, Cell, is_wanted, read_cells

CELLS = read_cells()
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


def values(key: str) -> list[str]:
    """Return the values of a key over all cells, in the order of the file and each once."""
    return list(dict.fromkeys(cell[key] for cell in CELLS if key in cell))


def test_every_cell_names_a_python_and_known_keys_with_texts() -> None:
    for cell in CELLS:
        assert "python" in cell
        assert set(cell) <= KEYS
        assert all(isinstance(value, str) for value in cell.values())
    assert len({tuple(sorted(cell.items())) for cell in CELLS}) == len(CELLS)


def test_matrix_has_the_python_versions_of_the_makefile() -> None:
    (line,) = re.findall(r"^PYTHONS := (.+)$", MAKEFILE, re.M)

    assert values("python") == line.split()


@pytest.mark.parametrize(("workflow", "job"), [("ci", "check"), ("release", "build")])
def test_workflow_installs_every_python_version_for_all_tests(workflow: str, job: str) -> None:
    content = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text("utf-8"))
    (setup,) = (step["with"] for step in content["jobs"][job]["steps"] if "python" in str(step))

    assert setup["python-version"].split() == values("python")


@each_package
def test_matrix_has_the_python_versions_of_the_classifiers(package: Package) -> None:
    project = package.project()
    prefix = "Programming Language :: Python :: 3."

    assert [f"{prefix}{version.partition('.')[2]}" for version in values("python")] == [
        each for each in project["classifiers"] if each.startswith(prefix)
    ]
    assert project["requires-python"] == f">={values('python')[0]}"


def test_matrix_has_every_sqlalchemy_that_the_bounds_allow_on_every_python() -> None:
    (package,) = (each for each in PACKAGES if each.name == "cqrs-ddd-persistence-sqlalchemy")
    (bounds,) = (
        SpecifierSet(text.partition("]")[2])
        for text in package.project()["dependencies"]
        if text.startswith("sqlalchemy")
    )
    allowed = [f"2.{minor}" for minor in range(10) if f"2.{minor}.99" in bounds]

    assert values("sqlalchemy") == allowed
    pairs = {(cell["python"], cell["sqlalchemy"]) for cell in CELLS if "sqlalchemy" in cell}
    # SQLAlchemy 2.1 needs Python 3.11.
    assert pairs == {(p, s) for p in values("python") for s in allowed} - {("3.10", "2.1")}


def test_matrix_begins_with_the_oldest_postgresql_of_the_documentation() -> None:
    page = (ROOT / "docs/guides/databases.md").read_text("utf-8")
    (oldest,) = re.findall(r"PostgreSQL (\d+) or newer", page)

    versions = [int(version) for version in values("postgresql")]
    assert versions == list(range(int(oldest), max(versions) + 1))
    assert values("redis") == ["redis", "valkey"]


@pytest.mark.parametrize(
    ("key", "wanted", "version", "expected"),
    [
        ("postgresql", "15", "15.18 (Debian)", True),
        ("postgresql", "15", "18.1", False),
        ("redis", "redis", "8.2.1", True),
        ("redis", "redis", "Valkey 9.1", False),
        ("redis", "valkey", "Valkey 9.1", True),
    ],
)
def test_server_is_wanted_by_its_major_version_or_product(
    key: str, wanted: str, version: str, expected: bool
) -> None:
    assert is_wanted(key, wanted, version) is expected


def test_sqlalchemy_of_a_cell_has_an_environment_of_its_own() -> None:
    listing = subprocess.run(
        ["make", "--dry-run", "test-py3.12", "SQLALCHEMY=2.0", "ARGS=tests/core"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "UV_PROJECT_ENVIRONMENT=.venvs/py3.12-sqlalchemy2.0;" in listing
    assert '"sqlalchemy==2.0.*"' in listing
    assert "tests/core" in listing


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Replace make and the servers: Python 3.12 and PostgreSQL 15 exist, and tests/bad fails."""
    calls: list[tuple[str, ...]] = []

    def run_make(target: str, *settings: str, **variables: str) -> subprocess.CompletedProcess[str]:
        calls.append((target, *settings, *variables.values()))
        found = "/usr/bin/python3.12" if target == "find-py3.12" else ""
        return subprocess.CompletedProcess([], int("ARGS=tests/bad" in settings), stdout=found)

    @contextmanager
    def find_server(key: str, wanted: str) -> Iterator[str | None]:
        yield "postgresql://found" if wanted == "15" else None

    monkeypatch.setattr(matrix, "run_make", run_make)
    monkeypatch.setattr(matrix, "find_server", find_server)
    monkeypatch.delenv("CELL", raising=False)
    return calls


def run_main(cells: Sequence[Cell], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(matrix, "read_cells", lambda: cells)
    return matrix.main(arguments)


def test_every_cell_is_run_or_reported_as_not_found(
    machine: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cells = [
        {"python": "3.9", "sqlalchemy": "2.0"},
        {"python": "3.12", "sqlalchemy": "2.0"},
        {"python": "3.12", "postgresql": "14"},
        {"python": "3.12", "postgresql": "15"},
    ]

    assert run_main(cells, monkeypatch, "tests/core", "-m", "not slow") == 0

    assert [line.split("  ")[-1].strip() for line in capsys.readouterr().out.splitlines()] == [
        "not found: Python 3.9",
        "run: passed",
        "not found: postgresql 14",
        "run: passed",
    ]
    arguments = f"ARGS={shlex.join(['tests/core', '-m', 'not slow'])}"
    assert [call for call in machine if call[0].startswith("test-")] == [
        ("test-py3.12", arguments, "SQLALCHEMY=2.0"),
        ("test-py3.12", arguments, "SQLALCHEMY=", "postgresql://found"),
    ]


@pytest.mark.usefixtures("machine")
def test_failed_tests_of_a_cell_fail_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main([{"python": "3.12"}], monkeypatch, "tests/bad") == 1


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("version", "code"), [("15", 0), ("14", 1)])
def test_cell_of_the_variable_has_to_be_found(
    monkeypatch: pytest.MonkeyPatch, version: str, code: int
) -> None:
    monkeypatch.setenv("CELL", f'{{"python": "3.12", "postgresql": "{version}"}}')

    assert run_main([], monkeypatch, "tests/core") == code


def test_valkey_of_the_wheel_is_found_as_a_server_of_the_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CQRS_DDD_TEST_REDIS_URL", raising=False)

    with matrix.find_server("redis", "valkey") as url:
        assert url is not None
        assert url.startswith("redis://")


def test_find_target_prints_the_python_of_this_version() -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"

    found = matrix.run_make(f"find-py{version}").stdout.strip()

    # An interpreter that is only in an environment of uv is not a system interpreter.
    assert not found or version in subprocess.check_output([found, "--version"], text=True)
