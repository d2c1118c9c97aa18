"""Hierarchies in tables of your own.

A batch is one statement, so what it tells of a node fits together. Give a unit of work, or run
inside one, and it sees what that one has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Executable, SQLColumnExpression, func, literal
from sqlalchemy.sql.expression import Subquery

from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryParentReader
from cqrs_ddd_core.domain.services.acl import ACL, Grant
from cqrs_ddd_core.domain.services.readers import N
from cqrs_ddd_core.ports.hierarchy import (
    IAsyncACLReader,
    IAsyncAncestryReader,
    IAsyncBatchACLReader,
    IAsyncBatchParentReader,
    IAsyncBatchTagReader,
    IAsyncParentReader,
    IAsyncTagReader,
)
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..engine.connections import Connections
from ..engine.driver import is_postgres
from ..engine.engines import SessionFactory
from .statements import HierarchyStatements, rows_of

_IDS_A_STATEMENT = 30_000
"""On SQLite, where a statement takes at most 32,766 values; PostgreSQL takes any as one array."""
_COUNTED_LEVELS = 32
"""Up to this depth the database counts levels: at most so many rows a node, also on a cycle."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TagColumns:
    """One row a tag; those of a node come by ``order``, ascending, else as they sort themselves."""

    node_id: SQLColumnExpression[Any]
    tag: SQLColumnExpression[str]
    order: SQLColumnExpression[Any] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ACLColumns:
    """One row an entry of an access list; the table of the nodes tells whether there is a list.

    Both flags may be expressions, such as ``folders.c.access == "listed"``.

    Args:
        is_restricted: of the nodes: NULL for no list, false for a list that leaves everything
            open, true for one that allows what its entries allow, and without entries nobody.
            Entries that deny count in each case.
        is_allowed: of the entries: true for one that allows, anything else for one that denies;
            left out, all of them allow.
    """

    is_restricted: SQLColumnExpression[Any]
    node_id: SQLColumnExpression[Any]
    principal: SQLColumnExpression[str]
    permission: SQLColumnExpression[str]
    is_allowed: SQLColumnExpression[Any] = field(default_factory=lambda: literal(True))


class SQLAlchemyHierarchyReader(
    IAsyncParentReader[N],
    IAsyncBatchParentReader[N],
    IAsyncTagReader[N],
    IAsyncBatchTagReader[N],
    IAsyncACLReader[N],
    IAsyncBatchACLReader[N],
    IAsyncAncestryReader[N],
):
    """All readers of the domain services over columns of tables, views or mapped classes.

    Args:
        node_id: the key of the table of the nodes.
        parent_id: of a table of links; in a tree, of the table of the nodes itself.
        child_id: beside ``parent_id`` in the table of links; a tree has none.
        parent_order: sorts the parents of a node, ascending; left out, they sort by their ids.
    """

    def __init__(
        self,
        session_factory: SessionFactory | None = None,
        *,
        node_id: SQLColumnExpression[N],
        parent_id: SQLColumnExpression[N | None],
        child_id: SQLColumnExpression[N] | None = None,
        parent_order: SQLColumnExpression[Any] | None = None,
        tags: TagColumns | None = None,
        acl: ACLColumns | None = None,
        uow: UnitOfWork | None = None,
    ) -> None:
        self._connections = Connections(session_factory, uow=uow)
        self._nodes = rows_of("nodes", id=node_id)
        self._links = rows_of(
            "links",
            node_id=node_id if child_id is None else child_id,
            parent_id=parent_id,
            place=parent_id if parent_order is None else parent_order,
        )
        self._tags = self._entries = None
        if tags is not None:
            place = tags.tag if tags.order is None else tags.order
            self._tags = rows_of("tags", node_id=tags.node_id, tag=tags.tag, place=place)
        if acl is not None:
            self._nodes = rows_of("nodes", id=node_id, is_restricted=acl.is_restricted)
            self._entries = rows_of(
                "entries",
                node_id=acl.node_id,
                principal=acl.principal,
                permission=acl.permission,
                is_allowed=func.coalesce(acl.is_allowed, False),
            )

    async def get_parent_ids(self, node_id: N) -> tuple[N, ...] | None:
        return (await self.get_parent_ids_many((node_id,))).get(node_id)

    async def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        return _parents_of(await self._read("parents", node_ids, HierarchyStatements.parents))

    async def get_ancestry(
        self, node_ids: Collection[N], *, max_depth: int | None = None
    ) -> Mapping[N, tuple[N, ...]]:
        counted = max_depth if max_depth is not None and max_depth <= _COUNTED_LEVELS else None
        rows = await self._read("an ancestry", node_ids, lambda sql: sql.ancestry(counted))
        links = _parents_of(rows)
        # The same walk as of the fake, over what came: it stops where the levels end.
        return InMemoryParentReader(links).get_ancestry(node_ids, max_depth=max_depth)

    async def get_tags_and_parents(
        self, node_id: N
    ) -> tuple[tuple[str, ...], tuple[N, ...]] | None:
        return (await self.get_tags_and_parents_many((node_id,))).get(node_id)

    async def get_tags_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[tuple[str, ...], tuple[N, ...]]]:
        columns = _given(self._tags, "tags", "tags=TagColumns")
        rows = await self._read("tags", node_ids, lambda sql: sql.tags_and_parents(columns))
        tags: dict[N, list[str]] = {}
        for node_id, _, _, tag in rows:
            if tag is not None:
                tags.setdefault(node_id, []).append(tag)
        return {
            node_id: (tuple(tags.get(node_id, ())), parents)
            for node_id, parents in _parents_of(rows).items()
        }

    async def get_acl_and_parents(self, node_id: N) -> tuple[ACL | None, tuple[N, ...]] | None:
        return (await self.get_acl_and_parents_many((node_id,))).get(node_id)

    async def get_acl_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[ACL | None, tuple[N, ...]]]:
        columns = _given(self._entries, "access lists", "acl=ACLColumns")
        rows = await self._read("access lists", node_ids, lambda sql: sql.acls_and_parents(columns))
        restricted: dict[N, bool | None] = {}
        entries: dict[tuple[N, bool], set[Grant]] = {}
        for node_id, _, _, is_restricted, principal, permission, is_allowed in rows:
            if is_allowed is None:
                restricted[node_id] = is_restricted
            else:
                entry = Grant(principal, permission)
                entries.setdefault((node_id, bool(is_allowed)), set()).add(entry)
        return {
            node_id: (
                _acl(
                    restricted[node_id],
                    allow=frozenset(entries.get((node_id, True), ())),
                    deny=frozenset(entries.get((node_id, False), ())),
                ),
                parents,
            )
            for node_id, parents in _parents_of(rows).items()
        }

    async def _read(
        self,
        what: str,
        node_ids: Collection[N],
        statement: Callable[[HierarchyStatements], Executable],
    ) -> Sequence[Any]:
        ids = list(dict.fromkeys(node_ids))
        found: list[Any] = []
        if not ids:
            return found
        async with self._connections.read_connection(None, f"read {what}") as connection:
            is_array = is_postgres(connection)
            asked = statement(HierarchyStatements(self._nodes, self._links, is_array))
            size = len(ids) if is_array else _IDS_A_STATEMENT
            for start in range(0, len(ids), size):
                part = {"ids": ids[start : start + size]}
                found += (await connection.execute(asked, part)).all()
        return found


def _given(rows: Subquery | None, what: str, remedy: str) -> Subquery:
    if rows is None:
        raise InvalidOperationError(
            f"cannot read {what}: the reader was not told where they are; "
            f"pass {remedy}(...) to SQLAlchemyHierarchyReader"
        )
    return rows


def _parents_of(rows: Sequence[Any]) -> dict[Any, tuple[Any, ...]]:
    found: dict[Any, list[Any]] = {}
    for node_id, parent_id, *_ in rows:
        parents = found.setdefault(node_id, [])
        if parent_id is not None:
            parents.append(parent_id)
    return {node_id: tuple(parents) for node_id, parents in found.items()}


def _acl(
    is_restricted: bool | None, *, allow: frozenset[Grant], deny: frozenset[Grant]
) -> ACL | None:
    if is_restricted:
        return ACL(allow, deny)
    return None if is_restricted is None and not deny else ACL(deny=deny)
