"""Public names of the packages; ``python -m tests.architecture.public_api --write`` keeps them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from tests.architecture.modules import defining_module, exported_names, read_modules
from tests.architecture.packages import PACKAGES, ROOT, Package

SNAPSHOT = Path(__file__).with_suffix(".txt")
COMMAND = "python -m tests.architecture.public_api --write"


def public_roots() -> list[ModuleType]:
    """Import the roots of packages and folders that declare `__all__`, except in test kits."""
    names = [
        module.name
        for package in PACKAGES
        for module in read_modules(package).values()
        if module.is_package and not module.is_test_kit
    ]
    return [root for root in map(import_module, names) if hasattr(root, "__all__")]


def public_names(roots: Iterable[ModuleType]) -> list[str]:
    """Return each name of each `__all__` as `package.name`, sorted."""
    return sorted(f"{root.__name__}.{name}" for root in roots for name in root.__all__)


def unresolved_names(root: ModuleType) -> list[str]:
    """Return the names of `__all__` that the root does not have, not even on demand."""
    return [name for name in root.__all__ if not hasattr(root, name)]


def changes(kept: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the added (+) and removed (-) names, or report that the snapshot is not sorted."""
    found = [f"+ {name}" for name in sorted({*names} - {*kept})]
    found += [f"- {name}" for name in sorted({*kept} - {*names})]
    return found if found or list(kept) == list(names) else ["names are not sorted or repeated"]


def reference_pages() -> str:
    pages = (ROOT / "docs/reference").rglob("*.md")
    return "\n".join(page.read_text("utf-8") for page in pages if page.name != "glossary.md")


def undocumented_names(package: Package, pages: str) -> list[str]:
    """Return the public names without an entry in the reference pages.

    The entry ``::: module`` covers the names that the module defines or exports, if a docstring
    describes them. Any other name needs its own entry or a mention in backticks.
    """
    modules = read_modules(package)
    origins = {
        f"{root.name}.{name}": (defining_module(modules, root.name, name), name)
        for root in modules.values()
        if root.is_package and not root.is_test_kit
        for name in exported_names(modules, root.name)
    }
    entries = set(re.findall(r"^::: (\S+)", pages, re.MULTILINE))
    exported = {origins[name] for name in origins if name.rpartition(".")[0] in entries}

    def has_entry(public_name: str) -> bool:
        module, name = origins[public_name]
        if entries & {public_name, f"{module}.{name}"} or f"`{name}`" in pages:
            return True
        is_described = name in modules[module].documented_names()
        return is_described and (module in entries or (module, name) in exported)

    return sorted(name for name in origins if not has_entry(name))


def main(arguments: Sequence[str] | None = None) -> str:
    """Return the output of the command: the public names, or the number of written names."""
    parser = argparse.ArgumentParser("python -m tests.architecture.public_api")
    parser.add_argument("--write", action="store_true", help=f"write {SNAPSHOT.name}")
    names = public_names(public_roots())
    lines = "".join(f"{name}\n" for name in names)
    if not parser.parse_args(arguments).write:
        return lines
    SNAPSHOT.write_text(lines, "utf-8")
    return f"{len(names)} names are written to {SNAPSHOT.name}\n"


if __name__ == "__main__":
    sys.stdout.write(main())
