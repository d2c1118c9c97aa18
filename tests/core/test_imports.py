"""Modules that an import of core loads, and names that core exports."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import cqrs_ddd_core
from cqrs_ddd_core import middleware

PYDANTIC = {
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
}


def test_importing_core_loads_pydantic_and_no_other_package() -> None:
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


def test_core_root_exports_the_names_that_an_application_needs() -> None:
    needed = {
        "AggregateRoot",
        "CachingMixin",
        "CachingRepository",
        "Command",
        "DomainEvent",
        "EventDispatcher",
        "HandlerRegistry",
        "ICacheService",
        "IEventStore",
        "ILockStrategy",
        "IMessageConsumer",
        "IMessagePublisher",
        "IOutboxStorage",
        "IRepository",
        "IUnitOfWork",
        "InboxConsumer",
        "Mediator",
        "MultitenantMixin",
        "OutboxRelay",
        "Query",
        "ValueObject",
    }
    names = {error.__name__ for error in all_subclasses(cqrs_ddd_core.CQRSDDDError)}
    errors = {name for name in names if not name.startswith("_")}

    assert needed | errors | set(middleware.__all__) <= set(root_names())


def test_core_root_exports_each_name_once() -> None:
    names = root_names()

    assert sorted(set(names)) == names
    assert set(names) <= set(dir(cqrs_ddd_core))
    for name in names:
        assert getattr(cqrs_ddd_core, name) is not None


def test_type_checkers_see_the_modules_that_the_core_root_searches() -> None:
    tree = ast.parse(Path(cqrs_ddd_core.__file__).read_text("utf-8"))
    (call,) = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    searched = [each.value for each in call.args if isinstance(each, ast.Constant)]

    assert len(searched) == len(set(searched))
    assert set(searched) == set(star_imports(cqrs_ddd_core))


def star_imports(package: ModuleType) -> list[str]:
    tree = ast.parse(Path(str(package.__file__)).read_text("utf-8"))
    return [
        str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]


def test_lazy_export_reports_the_error_of_a_broken_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazy_root").mkdir()
    (tmp_path / "lazy_root" / "__init__.py").write_text(
        "from cqrs_ddd_core.primitives.lazy_exports import export_lazily\n"
        "__getattr__, __dir__ = export_lazily(__name__, 'part')\n"
    )
    (tmp_path / "lazy_root" / "part.py").write_text("import sys\nsys.missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    root = importlib.import_module("lazy_root")

    with pytest.raises(ImportError, match="cannot import lazy_root.part: .*no attribute 'missing'"):
        getattr(root, "Anything")  # noqa: B009 - a type checker does not know the package


def test_importing_the_core_root_loads_no_other_package() -> None:
    code = "import sys, cqrs_ddd_core; print(*{m.partition('.')[0] for m in sys.modules})"

    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not PYDANTIC & set(loaded)


def test_unknown_name_of_the_core_root_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cqrs_ddd_core' has no attribute 'Missing'"):
        getattr(cqrs_ddd_core, "Missing")  # noqa: B009 - a type checker knows it is missing


def root_names() -> list[str]:
    names: list[str] = getattr(cqrs_ddd_core, "__all__")  # noqa: B009 - it is created on demand
    return names


def all_subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for each in base.__subclasses__():
        if each.__module__.startswith("cqrs_ddd_core."):
            yield from all_subclasses(each)


def test_every_exported_name_of_every_core_folder_exists() -> None:
    checked = 0
    for info in pkgutil.walk_packages(cqrs_ddd_core.__path__, "cqrs_ddd_core."):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{info.name}.{name}"
            checked += 1

    assert checked > 80
