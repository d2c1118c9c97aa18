"""Hooks of Alembic's ``--autogenerate`` for the column types of the toolkit."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic.autogenerate import rewriter
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql

from .column_types import ExactDecimal, UtcDateTime

__all__ = ["render_item", "rescale"]

_PACKAGE = "cqrs_ddd_persistence_sqlalchemy"


def render_item(kind: str, item: object, autogen_context: AutogenContext) -> str | Literal[False]:
    """Render a column type of the toolkit with its import; False leaves an item to Alembic.

    Pass it to ``context.configure`` as ``render_item``.

    Args:
        kind: kind of the item, such as "type".
        item: type, column or constraint.
        autogen_context: collects the imports of the revision.
    """
    if kind != "type":
        return False
    if isinstance(item, UtcDateTime):
        text = "UtcDateTime()"
    elif isinstance(item, ExactDecimal):
        text = f"ExactDecimal({item.precision}, {item.scale})"
    elif _is_json(item):
        text = "Json"
    else:
        return False
    autogen_context.imports.add(f"import {_PACKAGE}")
    return f"{_PACKAGE}.{text}"


def _is_json(item: object) -> bool:
    if not isinstance(item, sa.JSON) or isinstance(item, postgresql.JSONB):
        return False
    return isinstance(item._variant_mapping.get("postgresql"), postgresql.JSONB)


rescale = rewriter.Rewriter()
"""Converts the integers of an ``ExactDecimal`` on SQLite if its scale changes.

Pass it to ``context.configure`` as ``process_revision_directives``. A smaller scale rounds half
away from zero, as PostgreSQL does.
"""


@rescale.rewrites(ops.AlterColumnOp)
def _rescale(
    context: MigrationContext, revision: object, change: ops.AlterColumnOp
) -> list[ops.MigrateOperation] | ops.AlterColumnOp:
    old, new = change.existing_type, change.modify_type
    is_stored_scaled = context.dialect.name == "sqlite"
    if not (
        is_stored_scaled
        and isinstance(old, ExactDecimal)
        and isinstance(new, ExactDecimal)
        and old.scale != new.scale
    ):
        return change
    quote = context.dialect.identifier_preparer.quote
    column = quote(change.column_name)
    if new.scale > old.scale:
        converted = f"{column} * {10 ** (new.scale - old.scale)}"
    else:
        unit = 10 ** (old.scale - new.scale)
        half = unit // 2
        converted = f"({column} + CASE WHEN {column} < 0 THEN -{half} ELSE {half} END) / {unit}"
    update = f"UPDATE {quote(change.table_name)} SET {column} = {converted}"
    return [ops.ExecuteSQLOp(update), change]
