"""Every argument of a public constructor is described in a docstring."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

import pytest

from tests.architecture.public_api import public_roots

SECTION = re.compile(r"^(?:Args|Attributes):\n((?:(?: .*)?\n?)+)", re.MULTILINE)
ENTRY = re.compile(r"^    (\w+(?:, \w+)*)(?: \([^)]*\))?:", re.MULTILINE)


@cache
def public_classes() -> dict[str, type]:
    """Return the public classes that a user constructs, by name."""
    classes = {
        f"{value.__module__}.{value.__name__}": value
        for root in public_roots()
        for value in (getattr(root, name) for name in root.__all__)
        if inspect.isclass(value) and not issubclass(value, Enum)
    }
    return {name: classes[name] for name in sorted(classes) if constructor_arguments(classes[name])}


def constructor_arguments(described: type) -> list[str]:
    """Return the names of the arguments; none for a protocol, which is not constructed.

    A constructor of the standard library, such as that of `logging.Filter`, is described there.
    """
    constructor = inspect.getattr_static(described, "__init__")
    module = getattr(constructor, "__module__", "builtins")
    if getattr(described, "_is_protocol", False) or module in sys.stdlib_module_names:
        return []
    try:
        parameters = inspect.signature(described).parameters.values()
    except ValueError:  # an exception without a constructor of its own
        return []
    return [
        each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def described_names(described: type) -> set[str]:
    """Return the names that the docstrings of a class and of its bases describe."""
    return {name for each in described.__mro__ for name in _described_in(each)}


def _described_in(described: type) -> Iterator[str]:
    for owner in (described, vars(described).get("__init__")):
        for section in SECTION.findall(inspect.getdoc(owner) or "" if owner else ""):
            for names in ENTRY.findall(section):
                yield from names.split(", ")
    try:
        source = textwrap.dedent(inspect.getsource(described))
    except (OSError, TypeError):  # a class without a source file, such as `object`
        return
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            yield ast.unparse(field.target)


@pytest.mark.parametrize("name", public_classes())
def test_constructor_arguments_of_public_class_are_described(name: str) -> None:
    described = public_classes()[name]

    assert set(constructor_arguments(described)) - described_names(described) == set()


@dataclass(frozen=True)
class Described:
    """Example of a class whose docstring describes three of its four arguments.

    Args:
        first, second (int): Two numbers.
            A line that continues: the text.

    Returns:
        fourth: No section of arguments.
    """

    first: int
    second: int
    third: int
    """A number."""
    fourth: int


def test_arguments_are_read_from_sections_and_from_strings_below_a_field() -> None:
    assert constructor_arguments(Described) == ["first", "second", "third", "fourth"]
    assert described_names(Described) == {"first", "second", "third"}
