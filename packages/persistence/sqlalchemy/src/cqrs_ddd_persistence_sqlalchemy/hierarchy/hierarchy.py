"""Readers of hierarchies in tables of the application.

One statement reads a batch, so that all values of a node are from the same moment. A reader with a
unit of work, or inside one, sees the changes of that unit of work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from cqrs_ddd_core import InvalidOperationError, UnitOfWork
from cqrs_ddd_core.domain.services.acl import ACL, Grant
from cqrs_ddd_core.domain.services.hierarchy import select_ancestry
from cqrs_ddd_core.domain.services.readers import ACLAndParents, N, TagsAndParents
from cqrs_ddd_core.ports.hierarchy import IAsyncAncestryReader, IAsyncBatchReader

from ..engine import Connections, SessionFactory, is_postgres
from .statements import HierarchyStatements, select_columns

R = TypeVar("R")
Rows = Sequence[Any]

_IDS_A_STATEMENT = 30_000
"""Limit on SQLite, where a statement takes at most 32,766 values; PostgreSQL takes one array."""
_COUNTED_LEVELS = 32
"""Depth up to which the database counts levels, with at most this many rows for each node."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TagColumns:
    """Columns of a table with one row for each tag.

    Args:
        node_id: id of the node that has the tag.
        tag: the tag.
        order: sorts the tags of a node, ascending; None sorts them by the tag itself.
    """

    node_id: sa.SQLColumnExpression[object]
    tag: sa.SQLColumnExpression[str]
    order: sa.SQLColumnExpression[object] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ACLColumns:
    """Columns of a table with one row for each entry of an access list.

    Both flags may be expressions, such as ``folders.c.access == "listed"``.

    Args:
        is_restricted: column of the nodes: NULL for a node without a list, false for a list without
            restriction, true for a list that allows its entries only (without entries: no
            principal). Entries that deny apply in each case.
        node_id: id of the node that has the list.
        principal: principal of the entry.
        permission: permission of the entry.
        is_allowed: column of the entries: true for an entry that allows, otherwise the entry
            denies; by default all entries allow.
    """

    is_restricted: sa.SQLColumnExpression[bool | None]
    node_id: sa.SQLColumnExpression[object]
    principal: sa.SQLColumnExpression[str]
    permission: sa.SQLColumnExpression[str]
    is_allowed: sa.SQLColumnExpression[bool | None] = field(default_factory=sa.true)


@dataclass(frozen=True)
class _Tables:
    connections: Connections
    nodes: sa.Subquery
    links: sa.Subquery

    async def read(
        self,
        kind: str,
        node_ids: Collection[object],
        statement: Callable[[HierarchyStatements], sa.Executable],
    ) -> Rows:
        ids = list(dict.fromkeys(node_ids))
        rows: list[Any] = []
        if not ids:
            return rows
        async with self.connections.read_connection(None, f"read {kind}") as connection:
            is_array = is_postgres(connection)
            sql = statement(HierarchyStatements(self.nodes, self.links, is_array))
            size = len(ids) if is_array else _IDS_A_STATEMENT
            for start in range(0, len(ids), size):
                part = {"ids": ids[start : start + size]}
                rows += (await connection.execute(sql, part)).all()
        return rows


@dataclass(frozen=True)
class TableReader(IAsyncBatchReader[N, R], IAsyncAncestryReader[N]):
    """Reader of one kind of records, see ``SQLAlchemyHierarchyReader``."""

    _tables: _Tables
    _kind: str
    _statement: Callable[[HierarchyStatements], sa.Executable]
    _build_records: Callable[[Rows], dict[N, R]]

    async def get_many(self, node_ids: Collection[N]) -> Mapping[N, R]:
        """Return the records of the nodes, by one statement (on SQLite one per 30,000 nodes)."""
        rows = await self._tables.read(self._kind, node_ids, self._statement)
        return self._build_records(rows)

    async def get_ancestry(
        self, node_ids: Collection[N], *, max_depth: int | None = None
    ) -> Mapping[N, tuple[N, ...]]:
        """Return all ancestors with their parents, by one recursive statement."""
        counted = max_depth if max_depth is not None and max_depth <= _COUNTED_LEVELS else None
        rows = await self._tables.read("an ancestry", node_ids, lambda sql: sql.ancestry(counted))
        # The statement may return more levels than requested.
        return select_ancestry(_build_parents(rows), node_ids, max_depth)


class SQLAlchemyHierarchyReader(Generic[N]):
    """Readers over columns of tables, views or mapped classes, one for each domain service.

    Args:
        session_factory: creates the sessions of reads outside a unit of work.
        node_id: primary key of the table of nodes.
        parent_id: parent column in a table of links; for a tree, in the table of nodes itself.
        child_id: child column in the table of links; None for a tree.
        parent_order: sorts the parents of a node, ascending; None sorts them by id.
        tags: columns of the tags, for the reader ``tags``.
        acl: columns of the access lists, for the reader ``acls``.
        uow: unit of work in which the readers read.

    Raises:
        ConfigError: the columns of nodes or links belong to several tables.
    """

    def __init__(
        self,
        session_factory: SessionFactory | None = None,
        *,
        node_id: sa.SQLColumnExpression[N],
        parent_id: sa.SQLColumnExpression[N | None],
        child_id: sa.SQLColumnExpression[N] | None = None,
        parent_order: sa.SQLColumnExpression[object] | None = None,
        tags: TagColumns | None = None,
        acl: ACLColumns | None = None,
        uow: UnitOfWork | None = None,
    ) -> None:
        nodes = select_columns(
            "nodes", id=node_id, is_restricted=sa.null() if acl is None else acl.is_restricted
        )
        links = select_columns(
            "links",
            node_id=node_id if child_id is None else child_id,
            parent_id=parent_id,
            place=parent_id if parent_order is None else parent_order,
        )
        self._tables = _Tables(Connections(session_factory, uow=uow), nodes, links)
        self._tags, self._acl = tags, acl

    @property
    def parents(self) -> TableReader[N, tuple[N, ...]]:
        """Reader for ``AsyncCycleDetectionService``."""
        return TableReader(self._tables, "parents", HierarchyStatements.parents, _build_parents)

    @property
    def tags(self) -> TableReader[N, TagsAndParents[N]]:
        """Reader for ``AsyncTagInheritanceService``.

        Raises:
            InvalidOperationError: ``tags`` was not passed.
        """
        columns = _require(self._tags, "tags", "tags=TagColumns")
        place = columns.tag if columns.order is None else columns.order
        tags = select_columns("tags", node_id=columns.node_id, tag=columns.tag, place=place)
        return TableReader(self._tables, "tags", lambda sql: sql.tags(tags), _build_tags)

    @property
    def acls(self) -> TableReader[N, ACLAndParents[N]]:
        """Reader for ``AsyncACLInheritanceService``.

        Raises:
            InvalidOperationError: ``acl`` was not passed.
        """
        columns = _require(self._acl, "access lists", "acl=ACLColumns")
        entries = select_columns(
            "entries",
            node_id=columns.node_id,
            principal=columns.principal,
            permission=columns.permission,
            is_allowed=sa.func.coalesce(columns.is_allowed, False),
        )
        return TableReader(self._tables, "access lists", lambda sql: sql.acls(entries), _build_acls)


def _require(columns: R | None, kind: str, argument: str) -> R:
    if columns is None:
        raise InvalidOperationError(
            f"cannot read {kind}: the columns are unknown; "
            f"pass {argument}(...) to SQLAlchemyHierarchyReader"
        )
    return columns


def _build_parents(rows: Rows) -> dict[N, tuple[N, ...]]:
    parents: dict[N, list[N]] = {}
    for node_id, parent_id, *_ in rows:
        found = parents.setdefault(node_id, [])
        if parent_id is not None:
            found.append(parent_id)
    return {node_id: tuple(found) for node_id, found in parents.items()}


def _build_tags(rows: Rows) -> dict[N, TagsAndParents[N]]:
    links: dict[N, tuple[N, ...]] = _build_parents(rows)
    tags: dict[N, list[str]] = {node_id: [] for node_id in links}
    for node_id, _, _, tag in rows:
        if tag is not None:
            tags[node_id].append(tag)
    return {node_id: (tuple(tags[node_id]), parents) for node_id, parents in links.items()}


def _build_acls(rows: Rows) -> dict[N, ACLAndParents[N]]:
    links: dict[N, tuple[N, ...]] = _build_parents(rows)
    restricted: dict[N, bool | None] = {}
    entries: dict[N, tuple[set[Grant], set[Grant]]] = {each: (set(), set()) for each in links}
    for node_id, _, _, is_restricted, principal, permission, is_allowed in rows:
        if is_allowed is None:
            restricted[node_id] = is_restricted
        else:
            entries[node_id][bool(is_allowed)].add(Grant(principal, permission))
    return {
        node_id: (_build_acl(restricted[node_id], *entries[node_id]), parents)
        for node_id, parents in links.items()
    }


def _build_acl(is_restricted: bool | None, deny: set[Grant], allow: set[Grant]) -> ACL | None:
    if is_restricted:
        return ACL(frozenset(allow), frozenset(deny))
    return None if is_restricted is None and not deny else ACL(deny=frozenset(deny))
