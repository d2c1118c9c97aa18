"""SQL of the hierarchy readers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cqrs_ddd_core.primitives.exceptions import ConfigError


def select_columns(name: str, **columns: sa.SQLColumnExpression[Any]) -> sa.Subquery:
    """Select columns of the application under fixed names, as a subquery that keeps their indexes.

    Raises:
        ConfigError: the columns belong to several tables, which would multiply the rows.
    """
    labels: list[sa.ColumnElement[Any]] = [column.label(as_) for as_, column in columns.items()]
    rows = sa.select(*labels)
    if len(tables := rows.get_final_froms()) != 1:
        raise ConfigError(
            f"{', '.join(columns)} of the {name} must be columns of one table, but belong to "
            f"{' and '.join(str(table) for table in tables)}; pass columns of one table or view"
        )
    return rows.subquery(name)


class HierarchyStatements:
    """Statements that take node ids as ``ids`` and return at least one row for each node.

    A row starts with id, parent and place. Tags and entries come from the same statement, as
    further rows with NULL in the other columns, so that all values of a node are from the same
    moment.
    """

    def __init__(self, nodes: sa.Subquery, links: sa.Subquery, is_postgres: bool) -> None:
        self._nodes = nodes
        self._links = links
        if is_postgres:
            ids = sa.bindparam("ids", type_=sa.ARRAY(nodes.c.id.type))
            self._is_wanted: sa.ColumnElement[bool] = nodes.c.id == sa.any_(ids)
        else:
            self._is_wanted = nodes.c.id.in_(sa.bindparam("ids", expanding=True))

    def parents(self) -> sa.Executable:
        """Select the parents of the nodes."""
        return self._link(self._select_wanted()).order_by("place")

    def ancestry(self, max_depth: int | None) -> sa.Executable:
        """Select the parents of the nodes and of all their ancestors, ``max_depth`` levels up."""
        nodes, links = self._nodes, self._links
        start = sa.select(nodes.c.id).where(self._is_wanted)
        if max_depth is not None:
            start = start.add_columns(sa.literal(0).label("level"))
        above = start.cte("above", recursive=True)
        # Joined with the nodes, since a link may name a node that does not exist.
        linked = above.join(links, links.c.node_id == above.c.id)
        step = sa.select(nodes.c.id).select_from(
            linked.join(nodes, nodes.c.id == links.c.parent_id)
        )
        if max_depth is not None:
            step = step.add_columns(above.c.level + 1).where(above.c.level < max_depth)
        # UNION drops rows that were found before, so the recursion ends on a cycle.
        wanted = sa.select(above.union(step).c.id).distinct().cte("wanted")
        return self._link(wanted).order_by("place")

    def tags(self, tags: sa.Subquery) -> sa.Executable:
        """Select the parents and the tags of the nodes."""
        wanted = self._select_wanted()
        place = sa.func.row_number().over(order_by=(tags.c.place.nulls_last(), tags.c.tag))
        own = sa.select(wanted.c.id, _null_like(self._links.c.parent_id), place, tags.c.tag)
        return sa.union_all(
            self._link(wanted, _null_like(tags.c.tag)),
            own.select_from(wanted.join(tags, tags.c.node_id == wanted.c.id)),
        ).order_by("place")

    def acls(self, entries: sa.Subquery) -> sa.Executable:
        """Select the parents and the access list entries of the nodes."""
        wanted = self._select_wanted(self._nodes.c.is_restricted)
        entry = (entries.c.principal, entries.c.permission, entries.c.is_allowed)
        parent = _null_like(self._links.c.parent_id)
        flag = _null_like(wanted.c.is_restricted)
        own = sa.select(wanted.c.id, parent, sa.literal(0), flag, *entry)
        return sa.union_all(
            self._link(wanted, wanted.c.is_restricted, *map(_null_like, entry)),
            own.select_from(wanted.join(entries, entries.c.node_id == wanted.c.id)),
        ).order_by("place")

    def _select_wanted(self, *more: sa.ColumnElement[Any]) -> sa.CTE:
        return sa.select(self._nodes.c.id, *more).where(self._is_wanted).cte("wanted")

    def _link(self, wanted: sa.CTE, *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
        links = self._links
        place = sa.func.row_number().over(order_by=(links.c.place.nulls_last(), links.c.parent_id))
        linked = wanted.outerjoin(links, links.c.node_id == wanted.c.id)
        columns = (wanted.c.id, links.c.parent_id, place.label("place"), *more)
        return sa.select(*columns).select_from(linked)


def _null_like(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    # PostgreSQL gives a bare NULL in a union the type text.
    return sa.cast(sa.null(), column.type)
