"""What every reader of a hierarchy must do, sync or async."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

from ...domain.aggregate import AggregateRoot
from ...domain.services.acl import ACL, Grant
from ...domain.services.reading import (
    ACLReader,
    AsyncACLReader,
    AsyncBatchReader,
    AsyncParentReader,
    AsyncTagReader,
    BatchReader,
    ParentReader,
    TagReader,
    as_async_batch_reader,
    as_batch_reader,
)
from ...ports.hierarchy import IAncestryReader, IAsyncAncestryReader
from ...primitives.exceptions import InvalidOperationError


class Folder(AggregateRoot[str]):
    """The node that the contracts work with; an adapter under test maps it to its tables."""

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
"""What is stored before each test; the last two form a cycle."""

IDS = tuple(folder.id for folder in FOLDERS)


class ParentReaderContract:
    """Fixture: ``parent_reader``, a reader of stored ``FOLDERS``."""

    async def test_parents_are_a_tuple_in_their_stored_order(
        self, parent_reader: ParentReader[str] | AsyncParentReader[str]
    ) -> None:
        found = await _value(_batches(parent_reader).get_parent_ids_many(IDS))

        assert dict(found) == {folder.id: folder.parent_ids for folder in FOLDERS}
        assert all(isinstance(parents, tuple) for parents in found.values())

    async def test_a_missing_node_has_no_record_and_a_root_an_empty_tuple(
        self, parent_reader: ParentReader[str] | AsyncParentReader[str]
    ) -> None:
        found = await _value(_batches(parent_reader).get_parent_ids_many(("root", "missing")))

        assert dict(found) == {"root": ()}

    async def test_one_by_one_gives_the_same(
        self, parent_reader: ParentReader[str] | AsyncParentReader[str]
    ) -> None:
        if one := _single(parent_reader, "get_parent_ids"):
            for folder in FOLDERS:
                assert await _value(one(folder.id)) == folder.parent_ids
            assert await _value(one("missing")) is None

    async def test_any_number_of_ids_may_be_asked_for(
        self, parent_reader: ParentReader[str] | AsyncParentReader[str]
    ) -> None:
        reader = _batches(parent_reader)

        many = await _value(reader.get_parent_ids_many((*_many_missing(), "child")))
        none = await _value(reader.get_parent_ids_many(()))

        assert dict(many) == {"child": ("right", "left")}
        assert not none


class TagReaderContract:
    """Fixture: ``tag_reader``, a reader of stored ``FOLDERS``."""

    async def test_tags_keep_their_order_and_spelling(
        self, tag_reader: TagReader[str] | AsyncTagReader[str]
    ) -> None:
        found = await _value(_batches(tag_reader).get_tags_and_parents_many(IDS))

        assert dict(found) == {folder.id: (folder.tags, folder.parent_ids) for folder in FOLDERS}

    async def test_a_missing_node_is_not_a_node_without_tags(
        self, tag_reader: TagReader[str] | AsyncTagReader[str]
    ) -> None:
        asked = ("left", "missing", *_many_missing())
        found = await _value(_batches(tag_reader).get_tags_and_parents_many(asked))

        assert dict(found) == {"left": ((), ("root",))}

    async def test_tags_one_by_one_are_the_same(
        self, tag_reader: TagReader[str] | AsyncTagReader[str]
    ) -> None:
        if one := _single(tag_reader, "get_tags_and_parents"):
            for folder in FOLDERS:
                assert await _value(one(folder.id)) == (folder.tags, folder.parent_ids)
            assert await _value(one("missing")) is None


class ACLReaderContract:
    """Fixture: ``acl_reader``, a reader of stored ``FOLDERS``."""

    async def test_no_list_nobody_and_unrestricted_stay_apart(
        self, acl_reader: ACLReader[str] | AsyncACLReader[str]
    ) -> None:
        found = await _value(_batches(acl_reader).get_acl_and_parents_many(IDS))

        assert dict(found) == {folder.id: (folder.acl, folder.parent_ids) for folder in FOLDERS}
        assert found["left"][0] is None
        assert found["right"][0] == ACL.nobody()
        assert found["child"][0] == ACL.unrestricted()

    async def test_a_missing_node_is_not_a_node_without_a_list(
        self, acl_reader: ACLReader[str] | AsyncACLReader[str]
    ) -> None:
        asked = ("left", "missing", *_many_missing())
        found = await _value(_batches(acl_reader).get_acl_and_parents_many(asked))

        assert dict(found) == {"left": (None, ("root",))}

    async def test_lists_one_by_one_are_the_same(
        self, acl_reader: ACLReader[str] | AsyncACLReader[str]
    ) -> None:
        if one := _single(acl_reader, "get_acl_and_parents"):
            for folder in FOLDERS:
                assert await _value(one(folder.id)) == (folder.acl, folder.parent_ids)
            assert await _value(one("missing")) is None


class AncestryReaderContract:
    """Fixture: ``ancestry_reader``, a reader of stored ``FOLDERS``."""

    async def test_the_links_of_all_ancestors_come_at_once(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        found = await _value(ancestry_reader.get_ancestry(("grandchild", "left", "missing")))

        above = {"grandchild", "child", "left", "right", "root"}
        assert dict(found) == {
            folder.id: folder.parent_ids for folder in FOLDERS if folder.id in above
        }

    async def test_a_cycle_ends_the_reading(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        found = await _value(ancestry_reader.get_ancestry(("egg",)))

        assert dict(found) == {"egg": ("hen",), "hen": ("egg",)}

    async def test_a_depth_cuts_the_reading(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        itself = await _value(ancestry_reader.get_ancestry(("grandchild",), max_depth=0))
        parents = await _value(ancestry_reader.get_ancestry(("grandchild",), max_depth=1))

        assert dict(itself) == {"grandchild": ("child",)}
        assert dict(parents) == {"grandchild": ("child",), "child": ("right", "left")}

    async def test_ancestries_of_any_number_of_ids_may_be_asked_for(
        self, ancestry_reader: IAncestryReader[str] | IAsyncAncestryReader[str]
    ) -> None:
        many = await _value(ancestry_reader.get_ancestry((*_many_missing(), "left")))
        none = await _value(ancestry_reader.get_ancestry(()))

        assert dict(many) == {"left": ("root",), "root": ()}
        assert not none


def _batches(reader: Any) -> BatchReader[str] | AsyncBatchReader[str]:
    try:
        return as_batch_reader(reader)
    except InvalidOperationError:
        return as_async_batch_reader(reader)


def _single(reader: object, method: str) -> Any:
    """The method for one node, where the reader has it."""
    return getattr(reader, method, None)


async def _value(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _many_missing() -> Collection[str]:
    """More than the variables that a statement of an older SQLite takes."""
    return [f"missing-{i}" for i in range(1_500)]
