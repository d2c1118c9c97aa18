"""The page of operators, written from the table: ``python -m tests.docs.operators``."""

from __future__ import annotations

from collections.abc import Collection

from cqrs_ddd_specifications import OPERATORS, Operator, Takes
from cqrs_ddd_specifications.field_types import Kind
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs/reference/operators.md"

_HEAD = """\
# Operators

Written by `make operators` from `cqrs_ddd_specifications.operators`. An operator is found by its
name and by its other spellings; case, blanks and hyphens do not matter.
[Specifications](../concepts/specifications.md) tells how values and None are compared.

| operator | also spelled | takes | for fields | holds for |
|---|---|---|---|---|
"""
_APART = """
## Not the same everywhere

Never found by name: pass the operator, from `cqrs_ddd_specifications.operators`.

| operator | also spelled | takes | for fields | holds for |
|---|---|---|---|---|
"""


def page() -> str:
    rows = [(each.portable, _row(each)) for each in OPERATORS]
    same = "".join(row for is_portable, row in rows if is_portable)
    return _HEAD + same + _APART + "".join(row for is_portable, row in rows if not is_portable)


def _row(operator: Operator) -> str:
    others = [each for each in operator.spellings if each != operator.name]
    cells = (
        f"`{operator.name}`",
        ", ".join(f"`{each}`" for each in others),
        _taken(operator.takes),
        _fields(operator.kinds),
        operator.meaning,
    )
    return f"| {' | '.join(cells)} |\n"


def _taken(takes: Takes) -> str:
    return takes.value.replace("\\", "`\\`").replace("% ", "`%` ").replace("_ ", "`_` ")


def _fields(kinds: Collection[Kind]) -> str:
    others = set(Kind) - set(kinds)
    if not others:
        return "all"
    if len(others) < len(kinds):
        return f"all but {_names(others)}"
    return _names(kinds)


def _names(kinds: Collection[Kind]) -> str:
    return ", ".join(each.value for each in Kind if each in kinds)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
