"""Tests that the page on tracing lists every operation that hooks see, with its attributes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/guides/tracing.md").read_text("utf-8")
SOURCES = sorted(ROOT.glob("packages/**/src/**/*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

Operations = dict[str, set[str]]


def find_operations(source: str) -> Operations:
    """Return the spans of a module; a name that is a parameter is resolved at its callers."""
    tree = ast.parse(source)
    found: Operations = {}
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    for function in functions:
        for span in _calls(function, "hooks.span"):
            assert all(keyword.arg for keyword in span.keywords), (
                "the attributes of a span must be written as keywords"
            )
            attributes = {str(keyword.arg) for keyword in span.keywords}
            for name in _names(span.args[0], function, tree):
                found.setdefault(name, set()).update(attributes)
    in_functions = {id(span) for function in functions for span in _calls(function, "hooks.span")}
    assert in_functions == {id(span) for span in _calls(tree, "hooks.span")}, (
        "every span must be in a function"
    )
    return found


def _names(
    name: ast.expr, function: ast.FunctionDef | ast.AsyncFunctionDef, tree: ast.AST
) -> list[str]:
    if isinstance(name, ast.Name):
        place = [parameter.arg for parameter in function.args.args].index(name.id)
        passed = [call.args[place] for call in _calls(tree, function.name)]
        assert passed, f"{function.name} must be called by its name in its module"
    else:
        passed = [name]
    return [_text(each) for each in passed]


def _text(node: ast.expr) -> str:
    assert isinstance(node, ast.Constant), f"{ast.unparse(node)} is not a text constant"
    assert isinstance(node.value, str), f"{ast.unparse(node)} is not a text constant"
    return node.value


def _calls(tree: ast.AST, target: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == target:
            yield node


def test_tracing_page_lists_every_operation_and_its_attributes() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|[^|]*\|([^|]*)\|$", PAGE, re.M)
    listed = {name: set(re.findall(r"`(\w+)`", attributes)) for name, attributes in rows}

    found: Operations = {}
    for path in SOURCES:
        for name, attributes in find_operations(path.read_text("utf-8")).items():
            found.setdefault(name, set()).update(attributes)

    assert listed == found
    assert "command.send" in listed


def test_every_module_imports_hooks_by_its_own_name() -> None:
    for path in SOURCES:
        text = path.read_text("utf-8")
        for line in re.findall(r"^.*\binstrumentation import .*$", text, re.M):
            assert re.search(r"import hooks$", line), f"{path}: {line}"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f():\n    with hooks.span('a.b', one=1): pass", {"a.b": {"one"}}),
        (
            "def f(x, name):\n    with hooks.span(name): pass\n"
            "f(1, 'a')\nasync def g():\n    await f(2, 'b')",
            {"a": set(), "b": set()},
        ),
    ],
)
def test_operations_of_a_module_are_found(source: str, names: Operations) -> None:
    assert find_operations(source) == names


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    with hooks.span('a', **facts): pass",
        "def f():\n    with hooks.span(f'a.{b}'): pass",
        "with hooks.span('a'): pass",
    ],
)
def test_span_with_a_computed_name_or_attributes_is_rejected(source: str) -> None:
    with pytest.raises(AssertionError):
        find_operations(source)
