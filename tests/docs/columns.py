"""Table of the column types, generated from the cases of a test."""

from __future__ import annotations

from tests.docs.blocks import ROOT
from tests.docs.fields import replace_table
from tests.persistence_sqlalchemy.column_cases import CASES, Case

PAGE = ROOT / "docs/reference/columns.md"
SOURCE = "tests/persistence_sqlalchemy/column_cases.py"
START = f"<!-- `make columns` generates this table from {SOURCE} -->\n"

_HEAD = (
    "| field | column | PostgreSQL | SQLite | rejected with the value |\n|---|---|---|---|---|\n"
)


def render_page(page: str) -> str:
    """Return the page with the table of the present cases."""
    cases: dict[tuple[str, str], Case] = {}
    for case in CASES:
        cases.setdefault((case.field, case.column), case)
    rows = map(_render_row, cases.values())
    return replace_table(page, PAGE, START, f"\n{_HEAD}{''.join(rows)}\n")


def _render_row(case: Case) -> str:
    fates = (_describe(case, dialect) for dialect in ("postgresql", "sqlite"))
    cells = (_quote(case.field), _quote(case.column), *fates, case.limits)
    return f"| {' | '.join(cells)} |\n"


def _describe(case: Case, dialect: str) -> str:
    if dialect in case.absent_on:
        return "has no such type"
    return "rejected" if dialect in case.lossy_on else "kept"


def _quote(names: str) -> str:
    is_text = " with " in names or " of " in names or "others" in names or names == "each"
    return names if is_text else f"`{names}`".replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text("utf-8")), "utf-8")
