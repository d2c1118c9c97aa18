"""Links from each page to the glossary; ``python -m tests.docs.glossary`` writes them.

A term is linked where it first appears in the text of a page: not in a heading, a code span, a
block or another link. The text has `[relays][relay]`; the addresses are the last lines of the page.
The page of operators is generated and has no links.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from tests.docs.blocks import ROOT

GLOSSARY = ROOT / "docs/reference/glossary.md"
OPERATORS = ROOT / "docs/reference/operators.md"
ENTRY = re.compile(r'^- <a id="(.+?)"></a>\*\*(.+?)\*\*(?: \(also: (.+?)\))?: .+$', re.MULTILINE)
ADDRESS = re.compile(r"^\[([^\]]+)\]: \S*glossary\.md#\S+\n", re.MULTILINE)
LINK = re.compile(r"\[([^\[\]]+)\](?:\[([^\]]+)\])?(?![(\[])")
OTHER_MEANINGS = (
    "accepts no further query",
    "another version or style",
    "attach it to a handler",
    "can stream",
    "each other in a cycle",
    "error messages",
    "form, a document",
    "in the repository",
    "message of the error",
    "message of the server",
    "not all query",
    "on conflict do nothing",
    "ordering by transaction",
    "problem document",
    "root of the repository",
    "saves, loads and queries",
    "simpler ordering",
    "snapshot before its first read",
    "snapshot of the transaction",
    "snapshot transaction",
    "stream 10,000",
    "stream still returns",
    "their versions",
    "version of unicode",
    "versions follow",
)
"""Phrases in which a term of the glossary has its everyday meaning, or that of another program."""
NO_TEXT = re.compile(
    r"```.*?```|^:::.*?$|<!--.*?-->|^#.*?$|``.*?``|`[^`]*`|!?\[[^\]]*\]\([^)]*\)|^\[[^\]]*\]: .*?$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Entry:
    """One term of the glossary, with all the spellings that a page may link to it."""

    anchor: str
    term: str
    spellings: list[str]


def entries() -> list[Entry]:
    """Return the terms in the order of the glossary."""
    found = ENTRY.findall(GLOSSARY.read_text("utf-8"))
    return [
        Entry(name, term, [term, *filter(None, also.split(", "))]) for name, term, also in found
    ]


def pages() -> list[Path]:
    """Return the pages with links: all of docs and the README, except the glossary itself."""
    return sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md")} - {GLOSSARY, OPERATORS})


def address_from(page: Path) -> str:
    """Return the relative address of the glossary on a page."""
    return relpath(GLOSSARY, page.parent)


def without_links(page: str) -> str:
    """Return a page without its links to the glossary."""
    terms = {name.lower() for name in ADDRESS.findall(page)}

    def plain(link: re.Match[str]) -> str:
        label = " ".join((link[2] or link[1]).lower().split())
        return link[1] if label in terms else link[0]

    text = ADDRESS.sub("", page)
    return f"{LINK.sub(plain, text).rstrip()}\n" if terms else page


def with_links(page: str, glossary: Sequence[Entry], address: str) -> str:
    """Return a page on which the first appearance of each term is a link.

    Args:
        page: Text of the page, without links to the glossary.
        glossary: Terms to link.
        address: Address of the glossary as seen from the page.
    """
    spellings = {name.lower(): entry for entry in glossary for name in entry.spellings}
    text, last, addresses = "", 0, {}
    for start, end in _terms(page, spellings):
        found = page[start:end]
        entry = spellings[" ".join(found.lower().split())]
        if entry.term not in addresses:
            addresses[entry.term] = f"[{entry.term}]: {address}#{entry.anchor}\n"
            label = "" if found.lower() == entry.term.lower() else f"[{entry.term}]"
            text += f"{page[last:start]}[{found}]{label}"
            last = end
    return f"{text}{page[last:]}\n{''.join(sorted(addresses.values()))}" if addresses else page


def _terms(page: str, spellings: Collection[str]) -> Iterator[tuple[int, int]]:
    """Yield where each term begins and ends in the text; the longest phrase wins."""
    longest_first = sorted([*spellings, *OTHER_MEANINGS], key=len, reverse=True)
    words = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in longest_first)
    pattern = re.compile(rf"(?<![\w`/-])(?:{words})(?![\w`/-])", re.IGNORECASE)
    last = 0
    for skipped in [*NO_TEXT.finditer(page), None]:
        end = skipped.start() if skipped else len(page)
        for match in pattern.finditer(page, last, end):
            if " ".join(match[0].lower().split()) in spellings:
                yield match.span()
        last = skipped.end() if skipped else end


def main() -> None:
    """Write the links into every page."""
    glossary = entries()
    for path in pages():
        text = without_links(path.read_text("utf-8"))
        path.write_text(with_links(text, glossary, address_from(path)), "utf-8")


if __name__ == "__main__":
    main()
