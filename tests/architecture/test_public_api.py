"""Public names: kept in a snapshot, found in their roots and described in the reference."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.packages import PACKAGES, Package
from tests.architecture.public_api import (
    COMMAND,
    SNAPSHOT,
    changes,
    public_names,
    public_roots,
    reference_pages,
    undocumented_names,
    unresolved_names,
)

ROOTS = public_roots()

each_root = pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.__name__)
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


def test_every_package_has_a_public_root() -> None:
    assert {package.import_name for package in PACKAGES} <= {root.__name__ for root in ROOTS}


def test_public_api_matches_the_snapshot() -> None:
    found = changes(SNAPSHOT.read_text("utf-8").splitlines(), public_names(ROOTS))

    message = f"the public API changed; if that is intended, run: {COMMAND}\n"
    assert not found, message + "\n".join(found)


@each_root
def test_every_public_name_is_found_in_its_root(root: ModuleType) -> None:
    assert unresolved_names(root) == []


@each_package
def test_every_public_name_has_an_entry_in_the_reference(package: Package) -> None:
    assert undocumented_names(package, reference_pages()) == []


def test_added_and_removed_public_names_are_reported() -> None:
    assert changes(["shop.Cart", "shop.Old"], ["shop.Cart", "shop.New"]) == [
        "+ shop.New",
        "- shop.Old",
    ]


@pytest.mark.parametrize("kept", [["shop.B", "shop.A"], ["shop.A", "shop.A", "shop.B"]])
def test_unsorted_or_repeated_names_of_the_snapshot_are_reported(kept: list[str]) -> None:
    assert changes(kept, ["shop.A", "shop.B"])
    assert not changes(["shop.A", "shop.B"], ["shop.A", "shop.B"])


def test_public_name_that_the_root_loads_on_demand_is_resolved() -> None:
    root = ModuleType("shop")

    def load(name: str) -> object:
        if name == "Lazy":
            return object()
        raise AttributeError(name)

    vars(root).update(__all__=["Cart", "Lazy", "Missing"], Cart=object(), __getattr__=load)

    assert unresolved_names(root) == ["Missing"]


@pytest.fixture
def shop(tmp_path: Path) -> Package:
    """Package with one described class, one without docstring, and two values."""
    package = Package(tmp_path, "shop", "shop")
    files = {
        "__init__.py": """\
from typing import TYPE_CHECKING
from .cart import LIMIT, RATE, Bare
if TYPE_CHECKING:
    from .folder import Cart
__all__ = ["LIMIT", "RATE", "Bare", "Cart"]
""",
        "folder/__init__.py": 'from ..cart import Cart\n__all__ = ["Cart"]\n',
        "cart.py": """\
class Cart:
    \"\"\"Goods that a customer wants.\"\"\"
class Bare: ...
LIMIT = 10
\"\"\"Goods in a cart at most.\"\"\"
RATE = 20
""",
        "testing/__init__.py": '__all__ = ["Kit"]\nclass Kit: ...\n',
    }
    for path, text in files.items():
        file = package.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return package


def test_public_names_without_any_reference_entry_are_undocumented(shop: Package) -> None:
    assert undocumented_names(shop, "# Reference\n\n::: shop.testing\n") == [
        "shop.Bare",
        "shop.Cart",
        "shop.LIMIT",
        "shop.RATE",
        "shop.folder.Cart",
    ]


@pytest.mark.parametrize("entry", ["shop", "shop.cart"])
def test_reference_entry_of_a_module_covers_names_with_a_docstring(
    shop: Package, entry: str
) -> None:
    assert undocumented_names(shop, f"::: {entry}\n") == ["shop.Bare", "shop.RATE"]


def test_reference_entry_of_a_folder_covers_the_same_name_in_the_root(shop: Package) -> None:
    assert undocumented_names(shop, "::: shop.folder\n") == ["shop.Bare", "shop.LIMIT", "shop.RATE"]


def test_own_reference_entry_or_mention_covers_a_name_without_docstring(shop: Package) -> None:
    pages = "::: shop\n\n::: shop.cart.Bare\n\nThe rate is `RATE`.\n"

    assert undocumented_names(shop, pages) == []


def test_root_exports_the_names_that_it_imports_by_star(shop: Package) -> None:
    root = "if TYPE_CHECKING:\n    from .cart import *\n    from .folder import *\n"
    (shop.source / "__init__.py").write_text(root, "utf-8")

    assert undocumented_names(shop, "") == ["shop.Bare", "shop.Cart", "shop.folder.Cart"]
    assert undocumented_names(shop, "::: shop.cart\n") == ["shop.Bare"]
