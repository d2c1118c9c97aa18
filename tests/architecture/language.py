"""Measurement of the English in code, tests and docs: ``python -m tests.architecture.language``.

Prose is every docstring, comment, message and test name of a Python file, and the text of a page.
Code spans, code blocks, SQL and text in double quotes, which quotes other programs, are left out.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.architecture.packages import ROOT

AREAS: Mapping[str, Sequence[str]] = {
    "code": ("packages/**/*.py", "docs/examples/**/*.py"),
    "tests": ("tests/**/*.py",),
    "docs": ("docs/**/*.md", "packages/**/*.md", "changelog.d/*.md", ".github/**/*.md", "*.md"),
}

RATES = {
    "what": r"what",
    "who": r"who|whoever|whom|whose",
    "those": r"those|ones|one who|one that",
    "tell": r"tell|tells|told|say|says|said",
}
"""Words that are counted per 1,000 words of an area."""

STARTS = {"who", "whoever", "whom", "whose", "what", "whatever", "those"}
"""Words that no sentence begins with."""

DOCSTRING_STARTS = STARTS | {"none", "values", "of", "where", "as", "whether", "also", "they", "it"}
"""Words that no docstring begins with."""

TEST_NAME_STARTS = DOCSTRING_STARTS | {"both", "he", "these", "this", "that", "one", "ones"}
"""Words that no test name begins with: the name is read without its file."""

BANNED = {
    "anew": r"anew|afresh",
    "beside": r"beside|besides",
    "upon": r"upon",
    "meanwhile": r"meanwhile",
    "by way of": r"by way of",
    "for good": r"for good(?! reasons?)",
    "go on": r"go on|goes on|going on|went on",
    "nobody": r"nobody|somebody|anybody|no one|someone|anyone",
    "whoever": r"whoever|whom",
    "he": r"he|him|his|himself|she|her",
    "refuse": r"refus\w+",
    "owe": r"owe|owes|owed",
    "hear": r"hear|hears|heard",
    "forget": r"forget|forgets|forgot|forgotten",
    "give back": r"(?:give|gives|gave|given|giving)(?: \w+){0,2} back",
    "let go": r"lets? (?:\w+ )?go",
    "hold up": r"(?:hold|holds|held|holding) (?:\w+ ){0,2}up",
    "held back": r"(?:hold|holds|held|holding) (?:\w+ ){0,2}back",
    "parked": r"parked",
    "is no": r"(?<!there )(?:is|are|was|were) no(?! (?:more|less|longer|later|newer|older|larger))",
    "canceled": r"canceled|canceling|cancelation",
}
"""Words of the old style, with the pattern that finds each."""

PREPOSITIONS = {"among", "apart", "behind", "beside", "within", "until", "of", "after", "by"}
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|BEGIN|SET|WITH)\b")
MESSAGE_WORDS = 4
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note):", re.I)


@dataclass(frozen=True)
class Prose:
    """Text of one docstring, comment, message, test name or paragraph."""

    path: str
    line: int
    kind: str
    text: str

    def words(self) -> list[str]:
        return re.findall(r"[A-Za-z']+", self.text)

    def first_words(self) -> Iterator[str]:
        """Yield the first word of each sentence, in lower case."""
        for sentence in re.split(r"(?<=[.!?:;])\s+|\n\s*\n|\n\s*[-*] ", self.text):
            if first := re.match(r"\W*([A-Za-z']+)", sentence):
                yield first[1].lower()


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule."""

    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {' '.join(self.text.split())[:120]}"


@dataclass
class Report:
    """Counts and findings of some files."""

    words: int = 0
    sentences: int = 0
    starts: int = 0
    functions: int = 0
    bare_names: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RATES, 0))
    findings: list[Finding] = field(default_factory=list)

    def rate(self, word: str) -> float:
        """Return how often the word occurs per 1,000 words."""
        return 1000 * self.counts[word] / max(self.words, 1)

    @property
    def start_share(self) -> float:
        return self.starts / max(self.sentences, 1)

    @property
    def bare_name_share(self) -> float:
        return self.bare_names / max(self.functions, 1)

    def __str__(self) -> str:
        rates = ", ".join(f"{word} {self.rate(word):.2f}" for word in RATES)
        return (
            f"{self.words} words; per 1,000: {rates}; sentence starts {self.start_share:.2%}; "
            f"bare names {self.bare_name_share:.1%} of {self.functions} functions"
        )


def area_files(area: str) -> list[Path]:
    """Return the files of an area, sorted; the gate itself is left out, it quotes the words."""
    found = {path for pattern in AREAS[area] for path in ROOT.glob(pattern)}
    found -= {Path(__file__), Path(__file__).with_name("test_language.py")}
    return sorted(path for path in found if not {"build", "dist"} & {*path.parts})


def without_code(text: str) -> str:
    """Replace code spans, quotations and the targets of links, which are not our prose."""
    text = re.sub(r"```.*?```|``.*?``|`[^`]*`", "X", text, flags=re.DOTALL)
    text = re.sub(r"\](?:\([^)]*\)|\[[^\]]*\])|^\[[^\]]+\]: .*$", "]", text, flags=re.MULTILINE)
    return re.sub(r'"[^"]*"', "X", text)


def python_prose(path: str, source: str) -> Iterator[Prose]:
    """Yield the docstrings, messages, test names and comments of a Python file."""
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        for kind, constant in _docstrings(node):
            docstrings.add(id(constant))
            yield Prose(path, constant.lineno, kind, without_code(str(constant.value)))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _is_test(node.name):
            words = node.name.removeprefix("test_").replace("_", " ")
            yield Prose(path, node.lineno, "test name", words)
    for line, text in _strings(tree, docstrings):
        if len(re.findall(r"\b[a-z]+\b", text)) >= MESSAGE_WORDS and not SQL.search(text):
            yield Prose(path, line, "message", without_code(text))
    yield from _comments(path, source)


def _docstrings(node: ast.AST) -> Iterator[tuple[str, ast.Constant]]:
    """Yield docstrings, and the strings below an assignment, which describe its target."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    if not isinstance(node, (ast.Module, ast.ClassDef, *functions)):
        return
    for number, statement in enumerate(node.body):
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            continue
        if isinstance(statement.value.value, str):
            if number == 0:
                name = "function" if isinstance(node, functions) else type(node).__name__.lower()
                yield f"docstring of {name.removesuffix('def')}", statement.value
            elif isinstance(node.body[number - 1], (ast.Assign, ast.AnnAssign)):
                yield "docstring of attribute", statement.value


def _strings(tree: ast.AST, docstrings: set[int]) -> Iterator[tuple[int, str]]:
    """Yield the other string literals; the values inside an f-string become X."""
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
            texts = [v.value if isinstance(v, ast.Constant) else "X" for v in node.values]
            yield node.lineno, "".join(map(str, texts))
        elif isinstance(node, ast.Constant) and isinstance(text := node.value, str):
            yield from [] if id(node) in parts | docstrings else [(node.lineno, text)]


def _comments(path: str, source: str) -> Iterator[Prose]:
    """Yield comments; comments on consecutive lines are one text."""
    line, texts = 0, [""]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(type:|noqa|pragma|!)", token.string):
            continue
        if token.start[0] != line + len(texts):
            yield Prose(path, line, "comment", without_code(" ".join(texts)))
            line, texts = token.start[0], []
        texts.append(token.string.lstrip("# "))
    yield Prose(path, line, "comment", without_code(" ".join(texts)))


def page_prose(path: str, source: str) -> Iterator[Prose]:
    """Yield the paragraphs of a page, and the comments of its Python blocks."""

    def blank(block: re.Match[str]) -> str:
        return "\n" * block[0].count("\n")

    for block in re.finditer(r"```python.*?\n(.*?)```", source, re.DOTALL):
        line = source.count("\n", 0, block.start()) + 2
        for number, text in enumerate(block[1].splitlines(), line):
            if comment := re.search(r"(?:^|\s\s)# (.*)", text):
                yield Prose(path, number, "comment", without_code(comment[1]))
    text = re.sub(r"```.*?```|<!--.*?-->", blank, source, flags=re.DOTALL)
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", text):
        for number, row in enumerate(_rows(paragraph), line):
            if row.strip():
                yield Prose(path, number, "text", without_code(row))
        line += paragraph.count("\n")


def _rows(paragraph: str) -> list[str]:
    """Return the cells of a table line by line, and any other paragraph whole."""
    if paragraph.lstrip().startswith("|"):
        return [row.replace("|", "\n\n") for row in paragraph.splitlines()]
    return [paragraph]


def functions(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each function of a Python file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name


def is_bare(name: str) -> bool:
    """Return whether a function's name is one participle or preposition, such as `joined`."""
    word = name.strip("_")
    return (
        not name.startswith("__")
        and "_" not in word
        and (bool(re.fullmatch(r"[a-z]+(ed|en|ing)", word)) or word in PREPOSITIONS)
    )


def _is_test(name: str) -> bool:
    return name.startswith("test_")


def findings_of(prose: Prose) -> Iterator[Finding]:
    """Yield each rule that the text breaks."""
    first = next(prose.first_words(), "")
    if prose.kind.startswith("docstring") and first in DOCSTRING_STARTS:
        yield Finding(prose.path, prose.line, f"docstring begins with {first}", prose.text)
    elif prose.kind == "test name" and first in TEST_NAME_STARTS:
        yield Finding(prose.path, prose.line, f"test name begins with {first}", prose.text)
    for start in STARTS & {*prose.first_words()}:
        yield Finding(prose.path, prose.line, f"sentence begins with {start}", prose.text)
    for name, pattern in BANNED.items():
        for match in re.finditer(rf"\b(?:{pattern})\b", prose.text, re.IGNORECASE):
            line = prose.line + prose.text.count("\n", 0, match.start())
            excerpt = prose.text[max(match.start() - 40, 0) : match.end() + 40]
            yield Finding(prose.path, line, f"banned: {name}", excerpt)


def measure(paths: Iterable[Path]) -> Report:
    """Return the counts and findings of Python files and Markdown pages."""
    report = Report()
    for file in paths:
        path = str(file.resolve()).removeprefix(f"{ROOT}/")
        source = file.read_text("utf-8")
        pieces = page_prose if file.suffix == ".md" else python_prose
        for prose in pieces(path, source):
            report.words += len(prose.words())
            starts = list(prose.first_words())
            report.sentences += len(starts)
            report.starts += sum(start in STARTS for start in starts)
            for word, pattern in RATES.items():
                report.counts[word] += len(
                    re.findall(rf"\b(?:{pattern})\b", prose.text, re.IGNORECASE)
                )
            report.findings += findings_of(prose)
        if file.suffix == ".py":
            for line, name in functions(source):
                report.functions += 1
                if is_bare(name):
                    report.bare_names += 1
                    report.findings.append(Finding(path, line, "bare name", name))
    return report


def main(arguments: Sequence[str] | None = None) -> str:
    """Return what the command prints: the findings and the rates of each area or path."""
    parser = argparse.ArgumentParser("python -m tests.architecture.language")
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders; else all areas")
    parser.add_argument("--rates", action="store_true", help="print no findings")
    options = parser.parse_args(arguments)
    groups = {str(path): _files_below(path) for path in options.paths}
    lines: list[str] = []
    for name, files in (groups or {area: area_files(area) for area in AREAS}).items():
        report = measure(files)
        lines += [] if options.rates else map(str, report.findings)
        lines.append(f"{name}: {report}")
    return "\n".join(lines) + "\n"


def _files_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = [*path.rglob("*.py"), *path.rglob("*.md")]
    return sorted(each for each in files if not any(part[0] == "." for part in each.parts[:-1]))


if __name__ == "__main__":
    sys.stdout.write(main())
