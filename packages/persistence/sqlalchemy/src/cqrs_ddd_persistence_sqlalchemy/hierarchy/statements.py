"""The SQL of the reader of hierarchies."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    SQLColumnExpression,
    any_,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.expression import CTE, Subquery

from cqrs_ddd_core.primitives.exceptions import ConfigError


def rows_of(name: str, **columns: SQLColumnExpression[Any]) -> Subquery:
    """Columns of the user under names of ours; a database reads through it to the table.

    Raises ``ConfigError`` where they are of several tables, since that would multiply the rows.
    """
    labelled: list[ColumnElement[Any]] = [column.label(as_) for as_, column in columns.items()]
    rows = select(*labelled)
    if len(tables := rows.get_final_froms()) != 1:
        raise ConfigError(
            f"{', '.join(columns)} of the {name} must be columns of one table, they are of "
            f"{' and '.join(str(table) for table in tables)}; pass columns of one table or view"
        )
    return rows.subquery(name)


class HierarchyStatements:
    """Each takes the nodes as ``ids``, and gives a row for each node and further ones for more.

    They start with id, parent and place. Whatever belongs to a node comes in the same statement,
    as rows where the other columns are NULL, so that all of it is of one moment.
    """

    def __init__(self, nodes: Subquery, links: Subquery, is_postgres: bool) -> None:
        self._nodes = nodes
        self._links = links
        if is_postgres:
            ids = bindparam("ids", type_=ARRAY(nodes.c.id.type))
            self._is_asked: ColumnElement[bool] = nodes.c.id == any_(ids)
        else:
            self._is_asked = nodes.c.id.in_(bindparam("ids", expanding=True))

    def parents(self) -> Executable:
        return self._linked(self._wanted()).order_by("place")

    def ancestry(self, max_depth: int | None) -> Executable:
        nodes, links = self._nodes, self._links
        start = select(nodes.c.id).where(self._is_asked)
        if max_depth is not None:
            start = start.add_columns(literal(0).label("level"))
        above = start.cte("above", recursive=True)
        # By way of the nodes: the links of a missing one lead nowhere.
        linked = above.join(links, links.c.node_id == above.c.id)
        step = select(nodes.c.id).select_from(linked.join(nodes, nodes.c.id == links.c.parent_id))
        if max_depth is not None:
            step = step.add_columns(above.c.level + 1).where(above.c.level < max_depth)
        # UNION drops the rows that are there already, and so ends on a cycle.
        wanted = select(above.union(step).c.id).distinct().cte("wanted")
        return self._linked(wanted).order_by("place")

    def tags_and_parents(self, tags: Subquery) -> Executable:
        wanted = self._wanted()
        place = func.row_number().over(order_by=(tags.c.place.nulls_last(), tags.c.tag))
        own = select(wanted.c.id, _none_of(self._links.c.parent_id), place, tags.c.tag)
        return union_all(
            self._linked(wanted, _none_of(tags.c.tag)),
            own.select_from(wanted.join(tags, tags.c.node_id == wanted.c.id)),
        ).order_by("place")

    def acls_and_parents(self, entries: Subquery) -> Executable:
        wanted = self._wanted(self._nodes.c.is_restricted)
        entry = (entries.c.principal, entries.c.permission, entries.c.is_allowed)
        own = select(
            wanted.c.id,
            _none_of(self._links.c.parent_id),
            literal(0),
            _none_of(wanted.c.is_restricted),
            *entry,
        )
        return union_all(
            self._linked(wanted, wanted.c.is_restricted, *map(_none_of, entry)),
            own.select_from(wanted.join(entries, entries.c.node_id == wanted.c.id)),
        ).order_by("place")

    def _wanted(self, *more: ColumnElement[Any]) -> CTE:
        return select(self._nodes.c.id, *more).where(self._is_asked).cte("wanted")

    def _linked(self, wanted: CTE, *more: ColumnElement[Any]) -> Select[Any]:
        links = self._links
        place = func.row_number().over(order_by=(links.c.place.nulls_last(), links.c.parent_id))
        linked = wanted.outerjoin(links, links.c.node_id == wanted.c.id)
        columns = (wanted.c.id, links.c.parent_id, place.label("place"), *more)
        return select(*columns).select_from(linked)


def _none_of(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # PostgreSQL takes a bare NULL in a union for a text.
    return cast(null(), column.type)
