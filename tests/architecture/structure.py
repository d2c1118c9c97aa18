"""Measurement of how the packages are built: ``python -m tests.architecture.structure``.

All figures leave out the test kits in ``testing/``, except that a kit counts as a user of the
modules it imports and that circles are found in kits too.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path

from tests.architecture.modules import (
    Graph,
    Module,
    assigned_names,
    circles,
    exported_names,
    import_depth,
    import_graph,
    read_modules,
    without,
)
from tests.architecture.packages import PACKAGES, ROOT, Package

SMALL_MODULE = 40
LONG_FUNCTION = 30


@dataclass(frozen=True)
class Surface:
    """Names that a package exports, and import names of the packages that its extras add."""

    exported: set[str]
    extras: set[str]


MAY_BE_SMALL: Mapping[str, Callable[[Module, Surface], bool]] = {
    "roots of folders": lambda module, surface: module.is_package,
    "ports": lambda module, surface: "ports" in module.folders,
    "fakes": lambda module, surface: module.folders[-2:] == ["adapters", "memory"],
    "test kits": lambda module, surface: module.is_test_kit,
    "statements": lambda module, surface: module.name.endswith((".statements", "_sql")),
    "Alembic revisions": lambda module, surface: "migrations" in module.folders,
    "public names": lambda module, surface: bool(module.defined_names() & surface.exported),
    "extras": lambda module, surface: any(
        name.split(".")[0] in surface.extras for name in module.imported_names()
    ),
}
"""Kinds of modules that may have few lines and a single user."""


@dataclass(frozen=True)
class Measures:
    """Figures of one package."""

    code_lines: int
    import_lines: int
    modules: int
    import_depth: int
    any_uses: int
    functions: int
    circles: list[list[str]]
    small_modules: dict[str, list[str]]
    """Modules under 40 code lines with at most one user, each with its user."""
    long_functions: list[str]

    @property
    def import_share(self) -> float:
        return self.import_lines / max(self.code_lines, 1)

    @property
    def any_rate(self) -> float:
        """Return the uses of `Any` per 1,000 code lines."""
        return 1000 * self.any_uses / max(self.code_lines, 1)

    def rows(self) -> dict[str, str]:
        in_circles = sum(map(len, self.circles))
        return {
            "code lines": f"{self.code_lines:,}",
            "import lines": f"{self.import_lines:,}",
            "share of import lines": f"{self.import_share:.1%}",
            "modules": str(self.modules),
            "import depth": str(self.import_depth),
            "circles": f"{len(self.circles)} of {in_circles}" if in_circles else "0",
            "small modules with one user": str(len(self.small_modules)),
            "Any per 1,000 code lines": f"{self.any_rate:.1f}",
            "functions over 30 lines": f"{len(self.long_functions)} of {self.functions}",
        }


def measure(packages: Sequence[Package]) -> dict[str, Measures]:
    """Measure packages that may import each other."""
    read = {package: read_modules(package) for package in packages}
    graph = import_graph({name: module for each in read.values() for name, module in each.items()})
    return {package.name: _measure(package, read[package], graph) for package in packages}


def measure_revision(revision: str) -> dict[str, Measures]:
    """Measure the packages as a Git revision holds them."""
    command = ["git", "archive", "--format=zip", revision, "packages"]
    archive = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(BytesIO(archive)) as files:
        files.extractall(folder)
        return measure(packages_in(Path(folder)))


def packages_in(root: Path) -> list[Package]:
    moved = [replace(each, folder=root / each.folder.relative_to(ROOT)) for each in PACKAGES]
    return [package for package in moved if package.source.is_dir()]


def _measure(package: Package, modules: Mapping[str, Module], graph: Graph) -> Measures:
    inside = {name: graph[name] & modules.keys() for name in modules}
    kits = {name for name, module in modules.items() if module.is_test_kit}
    measured = [module for name, module in modules.items() if name not in kits]
    functions = [(module, function) for module in measured for function in module.functions()]
    return Measures(
        code_lines=sum(len(module.code_lines) for module in measured),
        import_lines=sum(len(module.import_lines) for module in measured),
        modules=len(measured),
        import_depth=import_depth(without(inside, {*kits, package.import_name})),
        any_uses=count_any([module.tree for module in measured]),
        functions=len(functions),
        circles=circles(inside),
        small_modules=_small_modules(package, measured, graph),
        long_functions=[
            f"{module.name}:{function.lineno} {function.name}"
            for module, function in functions
            if (function.end_lineno or 0) - function.lineno >= LONG_FUNCTION
        ],
    )


def count_any(trees: Sequence[ast.Module]) -> int:
    """Count the expressions that name `Any` or an alias of it; an import does not count."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    aliases = {"Any"}
    for node in nodes:
        if isinstance(node, ast.alias) and node.name == "Any" and node.asname:
            aliases.add(node.asname)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and _names_any(node.value, {"Any"}):
            aliases.update(assigned_names(node))
    return sum(_names_any(node, aliases) for node in nodes)


def _names_any(node: ast.AST | None, aliases: set[str]) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "Any"
    return isinstance(node, ast.Name) and node.id in aliases


def _small_modules(
    package: Package, measured: Sequence[Module], graph: Graph
) -> dict[str, list[str]]:
    extras = package.project().get("optional-dependencies", {})
    modules = {each.name: each for each in measured}
    surface = Surface(
        {
            name
            for each in measured
            if each.is_package
            for name in exported_names(modules, each.name)
        },
        {name.replace("-", "_") for extra in extras for name in package.required_names(extra)},
    )
    small = [
        module.name
        for module in measured
        if len(module.code_lines) < SMALL_MODULE
        if not any(is_allowed(module, surface) for is_allowed in MAY_BE_SMALL.values())
    ]
    users = {name: sorted(user for user in graph if name in graph[user]) for name in small}
    return {name: users[name] for name in small if len(users[name]) <= 1}


def table(after: Mapping[str, Measures], before: Mapping[str, Measures] | None = None) -> str:
    """Return one row for each measure and one column for each package, then the findings."""
    columns = {name: measures.rows() for name, measures in after.items()}
    if before is not None:
        old = {name: measures.rows() for name, measures in before.items()}
        for name, rows in columns.items():
            for row, value in rows.items():
                rows[row] = f"{old[name][row] if name in old else '-'} -> {value}"
    names = [name.removeprefix("cqrs-ddd-") for name in columns]
    lines = [["", *names]]
    rows_of_first = next(iter(columns.values()))
    lines += [[row, *(rows[row] for rows in columns.values())] for row in rows_of_first]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    ]
    return "\n".join([*text, *(finding for each in after.values() for finding in findings(each))])


def findings(measures: Measures) -> list[str]:
    """Return a line for each circle, each small module with its user and each long function."""
    return [
        *(f"circle: {', '.join(circle)}" for circle in measures.circles),
        *(
            f"small module: {name}, imported by {', '.join(users) or 'no module'}"
            for name, users in measures.small_modules.items()
        ),
        *(f"long function: {function}" for function in measures.long_functions),
    ]


def main(arguments: Sequence[str] | None = None) -> str:
    """Return the output of the command."""
    parser = argparse.ArgumentParser("python -m tests.architecture.structure")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--base", metavar="REV", help="measure this Git revision too")
    options = parser.parse_args(arguments)
    after = measure(PACKAGES)
    before = measure_revision(options.base) if options.base else None
    if not options.json:
        return table(after, before)
    sides = {"after": after} if before is None else {"before": before, "after": after}
    return json.dumps(
        {
            side: {
                name: asdict(each) | {"import_share": each.import_share, "any_rate": each.any_rate}
                for name, each in measures.items()
            }
            for side, measures in sides.items()
        },
        indent=2,
    )


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
