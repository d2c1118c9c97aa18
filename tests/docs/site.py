"""Sources of the site, which `make docs` builds from docs: ``python -m tests.docs.site FOLDER``.

They are a copy of docs, with the README as its home page, links from each public name to its entry
in the reference, the code of each page as a download, and the code of the examples on their pages.
"""

from __future__ import annotations

import ast
import io
import re
import shutil
import sys
import textwrap
import tokenize
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PUBLIC_NAMES = ROOT / "tests/architecture/public_api.txt"

_BLOCK = re.compile(r"(<!-- skip: next -->\n+)?^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""Block of Python; the skipped ones are parts of an example."""
_DOCS_LINK = re.compile(r"(\]\(|\]: )docs/")
_FILE = re.compile(r"# ([\w/]+\.py)\n")
_ROOT_PAGES = ("README.md", "system-prompt.md", "CONTRIBUTING.md", "SECURITY.md")
_NO_TEXT = re.compile(r"```.*?```|^#.*?$|!?\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])", re.DOTALL | re.M)
_SPAN = re.compile(r"(?<!`)`(\w+)`(?!`)")
_NEEDS = {
    "REDIS_URL": "; it needs `REDIS_URL`, the URL of a Redis server",
    "order_service": "; it needs a checkout, and `docs/examples` in `PYTHONPATH`",
    "docs/examples": "; it needs the root of a checkout as the current folder",
}
"""Conditions of the scripts that contain a text."""
_LANGUAGES = {".py": "python", ".json": "json", ".ini": "ini", ".mako": "mako"}
_NEEDS_MAIN = (ast.Await, ast.AsyncFor, ast.AsyncWith)


def build(target: Path) -> None:
    """Write the sources of the site into an empty folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(DOCS, target, ignore=shutil.ignore_patterns("__pycache__", "mkdocs.yml"))
    (target / "index.md").rename(target / "pages.md")
    for source in _ROOT_PAGES:
        text = (ROOT / source).read_text("utf-8").replace("docs/index.md", "pages.md")
        name = "index.md" if source == "README.md" else source
        (target / name).write_text(_DOCS_LINK.sub(r"\1", text), "utf-8")
    names = find_references(PUBLIC_NAMES.read_text("utf-8").split())
    for page in sorted(target.rglob("*.md")):
        place = page.relative_to(target)
        text = page.read_text("utf-8")
        if place.parts[0] == "examples":
            text += list_files(page.parent)
        elif place.parts[0] != "reference":
            text = offer_download(text, page)
            text = link_names(text, names)
        page.write_text(text, "utf-8")


def find_references(public_names: Iterable[str]) -> dict[str, str]:
    """Return the shortest full name by name, such as ``cqrs_ddd_core.Application``."""
    found: dict[str, str] = {}
    for full in sorted(public_names, key=lambda name: (name.count("."), name)):
        found.setdefault(full.rpartition(".")[2], full)
    return found


def link_names(page: str, references: Mapping[str, str]) -> str:
    """Link each public name to its entry in the reference where the page first mentions it."""
    linked: set[str] = set()

    def link(span: re.Match[str]) -> str:
        name = span[1]
        if name in linked or name not in references:
            return span[0]
        linked.add(name)
        return f"[`{name}`][{references[name]}]"

    text, last = "", 0
    for skipped in [*_NO_TEXT.finditer(page), None]:
        end = skipped.start() if skipped else len(page)
        text += _SPAN.sub(link, page[last:end])
        if skipped:
            text += skipped[0]
            last = skipped.end()
    return text


def offer_download(text: str, page: Path) -> str:
    """Write the code of a page into a file next to it, and append a link to it."""
    blocks = [code for skipped, code in _BLOCK.findall(text) if not skipped]
    files = {found[1]: block for block in blocks if (found := _FILE.match(block))}
    needs = [need for sign, need in _NEEDS.items() if any(sign in each for each in blocks)]
    if files:
        name = f"{page.stem}.zip"
        with zipfile.ZipFile(page.with_name(name), "w") as archive:
            for path, code in files.items():
                archive.writestr(zipfile.ZipInfo(path), code)
        offer = f"[Download the files of this page]({name})"
    elif blocks:
        name = f"{page.stem.replace('-', '_')}_example.py"
        page.with_name(name).write_text(to_script(blocks), "utf-8")
        offer = "".join([f"[Download the code of this page]({name}) as one script", *needs])
    else:
        return text
    return f"{text}\n---\n\n{offer}.\n"


def to_script(blocks: Iterable[str]) -> str:
    """Return one script that runs the blocks of a page in order.

    Blocks may await outside a function. From the first such statement on, the script runs in
    ``main``, with all names still global, so that functions and annotations find them.
    """
    code = "\n\n".join(map(str.strip, blocks)) + "\n"
    statements = ast.parse(code).body
    first = next((each for each in statements if _awaits(each)), None)
    if first is None:
        return code
    lines = code.splitlines(keepends=True)
    begin = _first_line(first) - 1
    before, rest = "".join(lines[:begin]), "".join(lines[begin:])
    late = [each for each in statements if _first_line(each) > begin]
    names = sorted({name for each in late for name in _bound_names(each)})
    declaration = textwrap.fill(f"global {', '.join(names)}", 100) if names else ""
    declaration = declaration.replace("\n", " \\\n    ")
    body = textwrap.indent(declaration + "\n", "    ") + _indent(rest)
    return (
        f"import asyncio\n{before.rstrip()}\n\n\nasync def main() -> None:\n{body}"
        "\n\nasyncio.run(main())\n"
    )


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(each.lineno for each in decorators)])


def _awaits(statement: ast.AST) -> bool:
    """Return whether a statement awaits outside of the functions that it defines."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return False
    if isinstance(statement, _NEEDS_MAIN):
        return True
    if isinstance(statement, ast.comprehension) and statement.is_async:
        return True
    return any(map(_awaits, ast.iter_child_nodes(statement)))


def _bound_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds in its module."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        return
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (each.asname or each.name.partition(".")[0] for each in node.names)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    for child in ast.iter_child_nodes(node):
        yield from _bound_names(child)


def _indent(code: str) -> str:
    """Indent the lines of code, except those within a text of several lines."""
    within = {
        line
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.STRING
        for line in range(token.start[0] + 1, token.end[0] + 1)
    }
    lines = code.splitlines(keepends=True)
    return "".join(
        line if number in within or not line.strip() else f"    {line}"
        for number, line in enumerate(lines, 1)
    )


def list_files(folder: Path) -> str:
    """Return a section with the code of an example."""
    text = "\n## Files\n"
    for path in sorted(folder.rglob("*")):
        if path.suffix in _LANGUAGES and path.stat().st_size:
            name = path.relative_to(folder).as_posix()
            fence = f"```{_LANGUAGES[path.suffix]}"
            text += f"\n### `{name}`\n\n{fence}\n{path.read_text('utf-8').rstrip()}\n```\n"
    return text


if __name__ == "__main__":
    build(Path(sys.argv[1]))
