"""What importing the package brings in, and what it offers."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import cqrs_ddd_core

PYDANTIC = {
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
}


def test_it_brings_in_pydantic_and_nothing_else() -> None:
    code = (
        "import sys, cqrs_ddd_core\n"
        "import cqrs_ddd_core.adapters.memory, cqrs_ddd_core.testing.scenario\n"
        "import cqrs_ddd_core.testing.contracts.repository, cqrs_ddd_core.ports\n"
        "print(*{m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names))\n"
    )

    process = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    found = {name for name in process.stdout.split() if not name.startswith("_")}
    assert found <= PYDANTIC | {"cqrs_ddd_core", "sitecustomize"}


def test_the_root_exports_what_an_application_needs_and_not_more() -> None:
    names = cqrs_ddd_core.__all__

    assert len(names) <= 40
    assert sorted(set(names)) == sorted(names)
    for name in names:
        assert getattr(cqrs_ddd_core, name) is not None


def test_every_exported_name_of_every_folder_exists() -> None:
    checked = 0
    for info in pkgutil.walk_packages(cqrs_ddd_core.__path__, "cqrs_ddd_core."):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{info.name}.{name}"
            checked += 1

    assert checked > 80
