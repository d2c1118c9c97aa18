"""Tests that the page about errors has one entry for each error class of the packages."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections import Counter
from importlib import import_module
from typing import Any

import pytest

from cqrs_ddd_core.primitives.exceptions import CQRSDDDError, ErrorClass
from tests.architecture.modules import read_modules
from tests.architecture.packages import PACKAGES
from tests.architecture.public_api import public_roots
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
ROWS = re.findall(
    r'^\| <a id="(\w+)"></a>`(\w+)` \| ([^|]+) \|([^|]*)\|[^|]*\|([^|]*)\|$', PAGE, re.M
)
ENTRIES = {name: kind for _, name, kind, _, _ in ROWS}
NAMES = re.compile(r"`([A-Z]\w+Error)`")


def find_error_classes() -> set[type[BaseException]]:
    """Return the errors that a root exports, or that a module defines with a public name."""
    modules = [name for package in PACKAGES for name in read_modules(package)]
    for module in modules:
        if "testing" not in module and "exceptions" in module:
            import_module(module)
    exported = (getattr(root, name) for root in public_roots() for name in root.__all__)
    found = {*_find_subclasses(CQRSDDDError), *filter(inspect.isclass, exported)}
    return {
        each
        for each in found
        if issubclass(each, BaseException)
        and each.__module__ in modules
        and not each.__name__.startswith("_")
    }


def _find_subclasses(root: type[Any]) -> set[type[Any]]:
    return {root}.union(*(_find_subclasses(each) for each in root.__subclasses__()))


def _get_kind(error: type[BaseException]) -> str:
    kind: ErrorClass | None = getattr(error, "error_class", None)
    return "-" if kind is None else kind.value


def test_each_error_class_has_exactly_one_entry() -> None:
    entries = Counter(name for _, name, *_ in ROWS)

    assert len(entries) > 70
    assert entries == Counter(each.__name__ for each in find_error_classes())


def test_kind_of_each_entry_is_that_of_the_class() -> None:
    assert {each.__name__: _get_kind(each) for each in find_error_classes()} == ENTRIES


def test_each_entry_has_its_anchor_a_meaning_and_a_next_step() -> None:
    for anchor, name, _, meaning, step in ROWS:
        assert anchor == name.lower()
        assert meaning.strip(), name
        assert step.strip(), name


def test_page_names_no_error_that_does_not_exist() -> None:
    named = {each for each in NAMES.findall(PAGE) if not hasattr(asyncio, each)}

    assert named <= ENTRIES.keys()


@pytest.mark.parametrize("kind", list(ErrorClass))
def test_page_explains_each_kind_of_error(kind: ErrorClass) -> None:
    assert re.search(rf"^\| `{kind.value}` \|", PAGE, re.M)
