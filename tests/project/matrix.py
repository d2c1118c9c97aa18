"""Run tests on each cell of ``.ci/matrix.json`` that this machine can run: ``make test-matrix``.

A cell names versions; the parts that it does not name are the usual ones. The variable ``CELL``
selects one cell, as JSON; it is then an error if a version is not found.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from tests.architecture.packages import ROOT
from tests.processes import ServerUnavailableError
from tests.services import SOURCES, Postgres, Product, Redis, ask_version, start

Cell = Mapping[str, str]

FILE = ROOT / ".ci/matrix.json"
PRODUCTS: Mapping[str, type[Product]] = {"postgresql": Postgres, "redis": Redis}
KEYS = {"python", "sqlalchemy", *PRODUCTS}
MAKE_VARIABLES = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "UV_PROJECT_ENVIRONMENT", "VIRTUAL_ENV"}
"""Settings of the calling make and environment that do not apply to the environment of a cell."""


def read_cells() -> list[Cell]:
    cells: list[Cell] = json.loads(FILE.read_text("utf-8"))["include"]
    return cells


def is_wanted(key: str, wanted: str, version: str) -> bool:
    """Return whether the version of a server is one that the cell wants."""
    if key == "redis":
        return version.startswith("Valkey") == (wanted == "valkey")
    return version.partition(".")[0] == wanted


@contextlib.contextmanager
def find_server(key: str, wanted: str) -> Iterator[str | None]:
    """Yield the URL of a server of the wanted version, or None.

    If a variable names a server, only that server is considered; otherwise the programs of the
    machine and the wheels are started in turn.
    """
    product = PRODUCTS[key]()
    if url := os.environ.get(product.variable):
        yield url if is_wanted(key, wanted, ask_version(product, url)) else None
        return
    for source in SOURCES:
        for program in product.programs(source):
            with contextlib.ExitStack() as stack:
                try:
                    url, version = stack.enter_context(start(product, program))
                except (ServerUnavailableError, OSError, subprocess.SubprocessError):
                    continue
                if is_wanted(key, wanted, version):
                    yield url
                    return
    yield None


def run_make(target: str, *settings: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}
    is_query = target.startswith("find-")
    return subprocess.run(
        ["make", "--no-print-directory", target, *settings],
        cwd=ROOT,
        env={**kept, **variables},
        stdout=subprocess.PIPE if is_query else None,
        text=True,
        check=is_query,
    )


def run_cell(cell: Cell, arguments: Sequence[str]) -> str:
    """Run pytest with the arguments on the versions of a cell; return the result as text."""
    python = cell["python"]
    if not run_make(f"find-py{python}").stdout.strip():
        return f"not found: Python {python}"
    variables = {}
    with contextlib.ExitStack() as stack:
        for key in PRODUCTS.keys() & cell.keys():
            url = stack.enter_context(find_server(key, cell[key]))
            if url is None:
                return f"not found: {key} {cell[key]}"
            variables[PRODUCTS[key].variable] = url
        settings = [f"ARGS={shlex.join(arguments)}", f"SQLALCHEMY={cell.get('sqlalchemy', '')}"]
        done = run_make(f"test-py{python}", *settings, **variables)
    return "run: passed" if done.returncode == 0 else "run: FAILED"


def main(arguments: Sequence[str]) -> int:
    chosen = os.environ.get("CELL")
    results: list[str] = []
    for cell in [json.loads(chosen)] if chosen else read_cells():
        result = run_cell(cell, arguments)
        name = ", ".join(f"{key} {value}" for key, value in cell.items())
        results.append(result)
        sys.stdout.write(f"== {name:32} {result}\n")
        sys.stdout.flush()
    is_complete = not chosen or "run: passed" in results
    return 0 if is_complete and "run: FAILED" not in results else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
