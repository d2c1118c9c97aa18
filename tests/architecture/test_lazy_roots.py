"""Names that package roots offer on demand."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest


@pytest.mark.parametrize("root", ["core", "core.ports", "core.domain.services", "advanced_core"])
def test_type_checkers_see_no_name_that_is_missing_at_run_time(root: str) -> None:
    package = importlib.import_module(f"cqrs_ddd_{root}")
    assigned: set[str] = set()
    for name in star_imports(package):
        module = importlib.import_module(f"{package.__name__}.{name}")
        if not hasattr(module, "__all__"):
            nodes = ast.parse(Path(str(module.__file__)).read_text("utf-8")).body
            targets = [each for node in nodes for each in getattr(node, "targets", [])]
            found = {each.id for each in targets if isinstance(each, ast.Name)}
            assigned |= {e for e in found if not isinstance(getattr(module, e), TypeVar)}

    assert {each for each in assigned if each[0] != "_" and not hasattr(package, each)} == set()


def star_imports(package: ModuleType) -> list[str]:
    tree = ast.parse(Path(str(package.__file__)).read_text("utf-8"))
    return [
        str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
