"""Table of the kinds of fields, generated from the cases of a test."""

from __future__ import annotations

from pathlib import Path

from tests.core.json_cases import CASES, Fate
from tests.docs.blocks import ROOT
from tests.docs.glossary import address_from, entries, with_links, without_links

PAGE = ROOT / "docs/reference/fields.md"
START = "<!-- `make fields` generates this table from tests/core/json_cases.py -->\n"
END = "<!-- end of the table -->\n"

_HEAD = "| field | its value |\n|---|---|\n"


def render_page(page: str) -> str:
    """Return the page with the table of the present cases."""
    return replace_table(page, PAGE, START, _render_table())


def replace_table(page: str, path: Path, start: str, table: str) -> str:
    """Return the page at the path with another table between the line ``start`` and ``END``."""
    head, _, rest = without_links(page).partition(start)
    _, _, tail = rest.partition(END)
    return with_links(f"{head}{start}{table}{END}{tail}", entries(), address_from(path))


def _render_table() -> str:
    fates = {case.kind: case.fate for case in CASES}
    assert all(fates[case.kind] is case.fate for case in CASES), "one kind, one fate"
    rows = [f"| {kind} | {_describe(fate)} |\n" for kind, fate in fates.items()]
    return "\n" + _HEAD + "".join(rows) + "\n"


def _describe(fate: Fate) -> str:
    return {Fate.CONVERTED: "comes back as an equal `datetime`, `UUID` or `Decimal`"}.get(
        fate, fate.value
    )


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text("utf-8")), "utf-8")
