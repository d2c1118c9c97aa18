"""Source files of a package: their lines, their names and the graph of their imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TypeGuard

from tests.architecture.packages import Package

TYPE_CHECKING = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}

Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Module:
    """One source file, with the numbers of its code lines and, among these, its import lines."""

    name: str
    is_package: bool
    tree: ast.Module = field(repr=False)
    code_lines: set[int] = field(repr=False)
    import_lines: set[int] = field(repr=False)

    @property
    def folders(self) -> list[str]:
        return self.name.split(".")[1 : None if self.is_package else -1]

    @property
    def is_test_kit(self) -> bool:
        return "testing" in self.folders

    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        nodes = ast.walk(self.tree)
        return [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]

    def imported_names(self) -> Iterator[str]:
        """Yield the absolute dotted name of everything that an import statement names."""
        package = self.name.split(".")[: None if self.is_package else -1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                outer = package[: len(package) + 1 - node.level] if node.level else []
                start = [*outer, *([node.module] if node.module else [])]
                yield from (".".join([*start, alias.name]) for alias in node.names)

    def defined_names(self) -> set[str]:
        """Return the names of the module's own classes, functions and variables."""
        names = set()
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
            names |= set(assigned_names(node))
        return names

    def documented_names(self) -> set[str]:
        """Return the names of the module's own that a docstring describes."""
        names = set()
        for node, below in zip_longest(self.tree.body, self.tree.body[1:]):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names |= {node.name} if ast.get_docstring(node) else set()
            elif _is_docstring(below):
                names.update(assigned_names(node))
        return names

    def public_definitions(self) -> set[str]:
        """Return the names of the module's own classes and functions without an underscore."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        names = {node.name for node in self.tree.body if isinstance(node, kinds)}
        return {name for name in names if not name.startswith("_")}

    def star_imports(self) -> set[str]:
        """Return the modules from which the module imports `*`."""
        return {name[:-2] for name in self.imported_names() if name.endswith(".*")}

    def exported_names(self) -> set[str]:
        """Return the strings in the module's `__all__`."""
        nodes = [
            each
            for node in self.tree.body
            if "__all__" in assigned_names(node)
            for each in ast.walk(node)
        ]
        constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
        return {constant for constant in constants if isinstance(constant, str)}


def exported_names(modules: Mapping[str, Module], name: str) -> set[str]:
    """Return the `__all__` of a module, or else the exports of the modules it imports by `*`.

    A module that is imported by `*` and has no `__all__` exports its public classes and functions.
    """
    listed = modules[name].exported_names()
    if listed:
        return listed
    return {
        each
        for source in modules[name].star_imports() & modules.keys()
        for each in exported_names(modules, source) or modules[source].public_definitions()
    }


def assigned_names(node: ast.AST) -> list[str]:
    """Return the variables that an assignment sets; an empty list for any other node."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@cache
def read_modules(package: Package) -> dict[str, Module]:
    """Parse every source file of a package once, keyed by dotted name."""
    modules = {}
    for path in sorted(package.source.rglob("*.py")):
        name = _dotted_name(path.relative_to(package.source.parent))
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        code = _code_lines(text, tree)
        is_package = path.stem == "__init__"
        modules[name] = Module(name, is_package, tree, code, _import_lines(tree) & code)
    return modules


def _dotted_name(path: Path) -> str:
    return ".".join(path.parent.parts if path.stem == "__init__" else path.with_suffix("").parts)


def _code_lines(text: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines that are neither blank nor a comment nor a docstring."""
    docstrings = [node for node in ast.walk(tree) if _is_docstring(node)]
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    code = {number for number, line in lines if line and not line.startswith("#")}
    return code - {line for node in docstrings for line in _lines(node)}


def _is_docstring(node: ast.AST | None) -> TypeGuard[ast.Expr]:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def _import_lines(tree: ast.Module) -> set[int]:
    """Return the lines of import statements and of whole `if TYPE_CHECKING:` blocks."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            lines.update(_lines(node))
        elif isinstance(node, ast.If) and ast.unparse(node.test) in TYPE_CHECKING:
            lines.update(range(node.lineno, _lines(node.body[-1]).stop))
    return lines


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def import_graph(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Map each module to the modules it imports, including imports for types and inside functions.

    Importing a module also loads the roots of its folders; the graph leaves that out.
    """
    graph = {}
    for module in modules.values():
        imported = {
            name if name in modules else name.rpartition(".")[0] for name in module.imported_names()
        }
        graph[module.name] = (imported & modules.keys()) - {module.name}
    return graph


def defining_module(modules: Mapping[str, Module], importer: str, name: str) -> str:
    """Return the module that defines a name, found by following imports from `importer`."""
    for imported in modules[importer].imported_names():
        source, _, imported_name = imported.rpartition(".")
        if imported_name == "*" and source in modules and name in modules[source].defined_names():
            return source
        if imported_name == name and source in modules and imported not in modules:
            return defining_module(modules, source, name)
    for source in sorted(modules[importer].star_imports() & modules.keys()):
        if name in exported_names(modules, source) | modules[source].public_definitions():
            return defining_module(modules, source, name)
    return importer


def without(graph: Graph, left_out: set[str]) -> Graph:
    return {name: graph[name] - left_out for name in graph if name not in left_out}


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""
    groups = set(_group_of_each(graph).values())
    return sorted(sorted(group) for group in groups if len(group) > 1)


def import_depth(graph: Graph) -> int:
    """Return the number of imports on the longest path, where a circle counts as one module."""
    group_of = _group_of_each(graph)

    @cache
    def depth(group: frozenset[str]) -> int:
        targets = {group_of[target] for name in group for target in graph[name]} - {group}
        return max((1 + depth(target) for target in targets), default=0)

    return max(map(depth, group_of.values()), default=0)


def _group_of_each(graph: Graph) -> dict[str, frozenset[str]]:
    reached = {name: _reachable(graph, name) for name in graph}
    return {
        name: frozenset({name} | {other for other in reached[name] if name in reached[other]})
        for name in graph
    }


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found
