"""Tests that the reference of the site describes every public name with its signature."""

from __future__ import annotations

import html
import inspect
import logging
import re
import zlib
from enum import Enum
from functools import cache
from importlib import import_module
from types import FunctionType

import pytest

from tests.docs.site import PUBLIC_NAMES
from tests.site.conftest import SITE

NAMES = PUBLIC_NAMES.read_text("utf-8").split()
LINE = re.compile(r"^(\S+) py:\w+ \d+ (\S+) ", re.MULTILINE)


@cache
def _read_inventory() -> dict[str, str]:
    """Return the address of each name that the site describes."""
    data = (SITE / "objects.inv").read_bytes().partition(b"zlib.\n")[2]
    found = LINE.findall(zlib.decompress(data).decode())
    return {name: address.replace("$", name) for name, address in found}


@cache
def _read_entries(page: str) -> dict[str, str]:
    """Return the text of each entry on a page of the reference."""
    text = (SITE / page / "index.html").read_text("utf-8")
    parts = re.split(r'<div class="doc doc-object doc-\w+">', text)[1:]
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    for part in parts:
        heading = re.search(r'<h(\d) id="([^"]+)"', part)
        assert heading, part[:200]
        level, name = int(heading[1]), heading[2]
        parents = [parent for parent in parents if parent[0] < level]
        plain = html.unescape(re.sub(r"<[^>]+>", "", part))
        found[name] = plain
        for _, parent in parents:
            found[parent] += plain
        parents.append((level, name))
    return found


def _find_entry(name: str) -> str:
    page, _, anchor = _read_inventory()[name].partition("/#")
    return _read_entries(page)[anchor]


@pytest.mark.parametrize("name", NAMES)
def test_reference_shows_every_public_name_with_its_parameters(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    value = getattr(import_module(module), attribute)

    entry = _find_entry(name)

    assert len(entry.split()) > 3
    if inspect.isclass(value) or inspect.isfunction(value):
        missing = [each for each in _list_parameters(value) if not re.search(rf"\b{each}\b", entry)]
        assert missing == []


def _list_parameters(value: type | FunctionType) -> list[str]:
    """Return the parameters of a function or constructor, except of protocols and enums."""
    if inspect.isclass(value) and (
        getattr(value, "_is_protocol", False) or issubclass(value, (Enum, logging.Filter))
    ):
        return []
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:  # The constructor is that of a built-in class.
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.kind not in variable]
