"""Contracts of the readers of a hierarchy, sync or async."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from ...domain.aggregate import AggregateRoot
from ...domain.services.acl import ACL, Grant
from ...domain.services.hierarchy import AsyncReader
from ...ports.hierarchy import IAncestryReader, IAsyncAncestryReader


class Folder(AggregateRoot[str]):
    """Node of the contracts; an adapter under test maps it to its tables."""

    parent_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    acl: ACL | None = None


_READ = Grant("ann", "read")
_LIST = ACL(frozenset({_READ, Grant("group:staff", "write")}), frozenset({Grant("bob", "read")}))
_DENIAL = ACL(deny=frozenset({_READ}))

FOLDERS = (
    Folder(id="root", tags=("b", "a", "B", "naïve ☃"), acl=_LIST),
    Folder(id="left", parent_ids=("root",), acl=None),
    Folder(id="right", parent_ids=("root",), tags=("",), acl=ACL.nobody()),
    Folder(id="child", parent_ids=("right", "left"), tags=("z", "y"), acl=ACL.unrestricted()),
    Folder(id="grandchild", parent_ids=("child",), acl=_DENIAL),
    Folder(id="egg", parent_ids=("hen",)),
    Folder(id="hen", parent_ids=("egg",)),
)
"""Nodes that are stored before each test; the last two form a cycle."""

IDS = tuple(folder.id for folder in FOLDERS)


class ParentReaderContract:
    """Contract of a reader of parents.

    Fixture: ``parent_reader``, a reader of single nodes or of batches, of stored ``FOLDERS``.
    """

    async def test_parents_are_a_tuple_in_their_stored_order(self, parent_reader: object) -> None:
        found = await _read_many(parent_reader, "get_parent_ids", IDS)

        assert dict(found) == {folder.id: folder.parent_ids for folder in FOLDERS}
        assert all(isinstance(parents, tuple) for parents in found.values())

    async def test_a_missing_node_has_no_record_and_a_root_an_empty_tuple(
        self, parent_reader: object
    ) -> None:
        found = await _read_many(parent_reader, "get_parent_ids", ("root", "missing"))

        assert dict(found) == {"root": ()}

    async def test_parents_read_one_by_one_are_the_same(self, parent_reader: object) -> None:
        found = await _read_each(parent_reader, "get_parent_ids")

        assert found in ({}, {**{f.id: f.parent_ids for f in FOLDERS}, "missing": None})

    async def test_any_number_of_nodes_can_be_read(self, parent_reader: object) -> None:
        many = await _read_many(parent_reader, "get_parent_ids", (*_many_missing(), "child"))
        none = await _read_many(parent_reader, "get_parent_ids", ())

        assert dict(many) == {"child": ("right", "left")}
        assert not none


class TagReaderContract:
    """Contract of a reader of tags.

    Fixture: ``tag_reader``, a reader of single nodes or of batches, of stored ``FOLDERS``.
    """

    async def test_tags_keep_their_order_and_spelling(self, tag_reader: object) -> None:
        found = await _read_many(tag_reader, "get_tags_and_parents", IDS)

        assert dict(found) == {folder.id: (folder.tags, folder.parent_ids) for folder in FOLDERS}

    async def test_a_missing_node_is_not_a_node_without_tags(self, tag_reader: object) -> None:
        node_ids = ("left", "missing", *_many_missing())
        found = await _read_many(tag_reader, "get_tags_and_parents", node_ids)

        assert dict(found) == {"left": ((), ("root",))}

    async def test_tags_read_one_by_one_are_the_same(self, tag_reader: object) -> None:
        found = await _read_each(tag_reader, "get_tags_and_parents")

        assert found in ({}, {**{f.id: (f.tags, f.parent_ids) for f in FOLDERS}, "missing": None})


class ACLReaderContract:
    """Contract of a reader of access lists.

    Fixture: ``acl_reader``, a reader of single nodes or of batches, of stored ``FOLDERS``.
    """

    async def test_no_list_nobody_and_unrestricted_stay_apart(self, acl_reader: object) -> None:
        found = await _read_many(acl_reader, "get_acl_and_parents", IDS)

        assert dict(found) == {folder.id: (folder.acl, folder.parent_ids) for folder in FOLDERS}
        assert found["left"][0] is None
        assert found["right"][0] == ACL.nobody()
        assert found["child"][0] == ACL.unrestricted()

    async def test_a_missing_node_is_not_a_node_without_a_list(self, acl_reader: object) -> None:
        node_ids = ("left", "missing", *_many_missing())
        found = await _read_many(acl_reader, "get_acl_and_parents", node_ids)

        assert dict(found) == {"left": (None, ("root",))}

    async def test_lists_read_one_by_one_are_the_same(self, acl_reader: object) -> None:
        found = await _read_each(acl_reader, "get_acl_and_parents")

        assert found in ({}, {**{f.id: (f.acl, f.parent_ids) for f in FOLDERS}, "missing": None})


class AncestryReaderContract:
    """Contract of a reader of ancestries.

    Fixture: ``ancestry_reader``, a reader of stored ``FOLDERS``.
    """

    async def test_the_links_of_all_ancestors_come_at_once(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        found = await _settle(ancestry_reader.get_ancestry(("grandchild", "left", "missing")))

        above = {"grandchild", "child", "left", "right", "root"}
        assert dict(found) == {
            folder.id: folder.parent_ids for folder in FOLDERS if folder.id in above
        }

    async def test_a_cycle_ends_the_reading(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        found = await _settle(ancestry_reader.get_ancestry(("egg",)))

        assert dict(found) == {"egg": ("hen",), "hen": ("egg",)}

    async def test_a_depth_cuts_the_reading(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        itself = await _settle(ancestry_reader.get_ancestry(("grandchild",), max_depth=0))
        parents = await _settle(ancestry_reader.get_ancestry(("grandchild",), max_depth=1))

        assert dict(itself) == {"grandchild": ("child",)}
        assert dict(parents) == {"grandchild": ("child",), "child": ("right", "left")}

    async def test_ancestries_of_any_number_of_nodes_can_be_read(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        many = await _settle(ancestry_reader.get_ancestry((*_many_missing(), "left")))
        none = await _settle(ancestry_reader.get_ancestry(()))

        assert dict(many) == {"left": ("root",), "root": ()}
        assert not none


async def _read_many(reader: object, method: str, node_ids: Collection[str]) -> Mapping[str, Any]:
    """Read as the services do."""
    name = method if hasattr(reader, method) else "get_many"
    is_async = inspect.iscoroutinefunction(getattr(reader, name))
    both: AsyncReader[str, Any] = AsyncReader(reader, method, is_async=is_async)
    return await both.get_many(node_ids)


async def _read_each(reader: object, method: str) -> dict[str, Any]:
    """Read stored nodes and a missing one; return nothing if the reader has batches only."""
    read = getattr(reader, method, None)
    return {each: await _settle(read(each)) for each in (*IDS, "missing")} if read else {}


async def _settle(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _many_missing() -> Collection[str]:
    """Return more ids than a statement of an older SQLite takes as variables."""
    return [f"missing-{i}" for i in range(1_500)]
