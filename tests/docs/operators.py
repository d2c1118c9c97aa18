"""Page of operators, generated from the table: ``python -m tests.docs.operators``."""

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
[Specifications](../concepts/specifications.md) describes how values and None are compared.

| operator | also spelled | takes | for fields | holds for |
|---|---|---|---|---|
"""
_HEAD_NOT_PORTABLE = """
## Differences between databases

No name finds these operators: pass the operator itself, from `cqrs_ddd_specifications.operators`.

| operator | also spelled | takes | for fields | holds for |
|---|---|---|---|---|
"""


def render_page() -> str:
    rows = [(each.portable, _format_row(each)) for each in OPERATORS]
    same = "".join(row for is_portable, row in rows if is_portable)
    return (
        _HEAD
        + same
        + _HEAD_NOT_PORTABLE
        + "".join(row for is_portable, row in rows if not is_portable)
    )


def _format_row(operator: Operator) -> str:
    others = [each for each in operator.spellings if each != operator.name]
    cells = (
        f"`{operator.name}`",
        ", ".join(f"`{each}`" for each in others),
        _describe_value(operator.takes),
        _describe_fields(operator.kinds),
        operator.meaning,
    )
    return f"| {' | '.join(cells)} |\n"


def _describe_value(takes: Takes) -> str:
    return takes.value.replace("\\", "`\\`").replace("% ", "`%` ").replace("_ ", "`_` ")


def _describe_fields(kinds: Collection[Kind]) -> str:
    others = set(Kind) - set(kinds)
    if not others:
        return "all"
    if len(others) < len(kinds):
        return f"all but {_join_names(others)}"
    return _join_names(kinds)


def _join_names(kinds: Collection[Kind]) -> str:
    return ", ".join(each.value for each in Kind if each in kinds)


if __name__ == "__main__":
    PAGE.write_text(render_page(), "utf-8")
