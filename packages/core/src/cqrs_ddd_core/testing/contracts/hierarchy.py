"""Contracts of the readers of a hierarchy, synchronous or asynchronous."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from ...domain.aggregate import AggregateRoot
from ...domain.services.acl import ACL, Grant
from ...domain.services.hierarchy import AsyncReader
from ...ports.hierarchy import IAncestryReader, IAsyncAncestryReader


class Folder(AggregateRoot[str]):
    """Node of the hierarchy; an adapter under test maps it to its tables."""

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
"""Nodes that the fixtures store before each test; the last two form a cycle."""

IDS = tuple(folder.id for folder in FOLDERS)


class ParentReaderContract:
    """Contract of ``IParentReader`` and its batched and asynchronous variants.

    Fixtures:
        parent_reader: A reader of single nodes or of batches; ``FOLDERS`` are stored.
    """

    async def test_parent_reader_returns_parents_in_stored_order(
        self, parent_reader: object
    ) -> None:
        found = await _read_many(parent_reader, "get_parent_ids", IDS)

        assert dict(found) == {folder.id: folder.parent_ids for folder in FOLDERS}
        assert all(isinstance(parents, tuple) for parents in found.values())

    async def test_parent_reader_omits_missing_nodes_and_returns_no_parents_for_a_root(
        self, parent_reader: object
    ) -> None:
        found = await _read_many(parent_reader, "get_parent_ids", ("root", "missing"))

        assert dict(found) == {"root": ()}

    async def test_parents_read_one_by_one_equal_the_batch(self, parent_reader: object) -> None:
        found = await _read_each(parent_reader, "get_parent_ids")

        assert found in ({}, {**{f.id: f.parent_ids for f in FOLDERS}, "missing": None})

    async def test_parent_reader_accepts_any_number_of_nodes(self, parent_reader: object) -> None:
        many = await _read_many(parent_reader, "get_parent_ids", (*_many_missing(), "child"))
        none = await _read_many(parent_reader, "get_parent_ids", ())

        assert dict(many) == {"child": ("right", "left")}
        assert not none


class TagReaderContract:
    """Contract of ``ITagReader`` and its batched and asynchronous variants.

    Fixtures:
        tag_reader: A reader of single nodes or of batches; ``FOLDERS`` are stored.
    """

    async def test_tag_reader_keeps_the_order_and_spelling_of_tags(
        self, tag_reader: object
    ) -> None:
        found = await _read_many(tag_reader, "get_tags_and_parents", IDS)

        assert dict(found) == {folder.id: (folder.tags, folder.parent_ids) for folder in FOLDERS}

    async def test_tag_reader_omits_missing_nodes_but_not_nodes_without_tags(
        self, tag_reader: object
    ) -> None:
        node_ids = ("left", "missing", *_many_missing())
        found = await _read_many(tag_reader, "get_tags_and_parents", node_ids)

        assert dict(found) == {"left": ((), ("root",))}

    async def test_tags_read_one_by_one_equal_the_batch(self, tag_reader: object) -> None:
        found = await _read_each(tag_reader, "get_tags_and_parents")

        assert found in ({}, {**{f.id: (f.tags, f.parent_ids) for f in FOLDERS}, "missing": None})


class ACLReaderContract:
    """Contract of ``IACLReader`` and its batched and asynchronous variants.

    Fixtures:
        acl_reader: A reader of single nodes or of batches; ``FOLDERS`` are stored.
    """

    async def test_acl_reader_distinguishes_no_list_from_an_empty_and_an_unrestricted_list(
        self, acl_reader: object
    ) -> None:
        found = await _read_many(acl_reader, "get_acl_and_parents", IDS)

        assert dict(found) == {folder.id: (folder.acl, folder.parent_ids) for folder in FOLDERS}
        assert found["left"][0] is None
        assert found["right"][0] == ACL.nobody()
        assert found["child"][0] == ACL.unrestricted()

    async def test_acl_reader_omits_missing_nodes_but_not_nodes_without_a_list(
        self, acl_reader: object
    ) -> None:
        node_ids = ("left", "missing", *_many_missing())
        found = await _read_many(acl_reader, "get_acl_and_parents", node_ids)

        assert dict(found) == {"left": (None, ("root",))}

    async def test_access_lists_read_one_by_one_equal_the_batch(self, acl_reader: object) -> None:
        found = await _read_each(acl_reader, "get_acl_and_parents")

        assert found in ({}, {**{f.id: (f.acl, f.parent_ids) for f in FOLDERS}, "missing": None})


class AncestryReaderContract:
    """Contract of ``IAncestryReader`` and ``IAsyncAncestryReader``.

    Fixtures:
        ancestry_reader: A reader of all ancestors in one call; ``FOLDERS`` are stored.
    """

    async def test_ancestry_reader_returns_the_links_of_all_ancestors_in_one_call(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        found = await _await_result(ancestry_reader.get_ancestry(("grandchild", "left", "missing")))

        above = {"grandchild", "child", "left", "right", "root"}
        assert dict(found) == {
            folder.id: folder.parent_ids for folder in FOLDERS if folder.id in above
        }

    async def test_ancestry_reader_ends_at_a_cycle(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        found = await _await_result(ancestry_reader.get_ancestry(("egg",)))

        assert dict(found) == {"egg": ("hen",), "hen": ("egg",)}

    async def test_ancestry_reader_stops_at_max_depth(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        itself = await _await_result(ancestry_reader.get_ancestry(("grandchild",), max_depth=0))
        parents = await _await_result(ancestry_reader.get_ancestry(("grandchild",), max_depth=1))

        assert dict(itself) == {"grandchild": ("child",)}
        assert dict(parents) == {"grandchild": ("child",), "child": ("right", "left")}

    async def test_ancestry_reader_accepts_any_number_of_nodes(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        many = await _await_result(ancestry_reader.get_ancestry((*_many_missing(), "left")))
        none = await _await_result(ancestry_reader.get_ancestry(()))

        assert dict(many) == {"left": ("root",), "root": ()}
        assert not none


async def _read_many(reader: object, method: str, node_ids: Collection[str]) -> Mapping[str, Any]:
    """Read the nodes as the domain services do, through ``AsyncReader``."""
    name = method if hasattr(reader, method) else "get_many"
    is_async = inspect.iscoroutinefunction(getattr(reader, name))
    batched: AsyncReader[str, Any] = AsyncReader(reader, method, is_async=is_async)
    return await batched.get_many(node_ids)


async def _read_each(reader: object, method: str) -> dict[str, Any]:
    """Read each stored node and a missing one; return {} if the reader has batches only."""
    read = getattr(reader, method, None)
    return {each: await _await_result(read(each)) for each in (*IDS, "missing")} if read else {}


async def _await_result(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _many_missing() -> Collection[str]:
    """Return more ids than an older SQLite accepts as variables of one statement."""
    return [f"missing-{i}" for i in range(1_500)]
