from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryHierarchy
from cqrs_ddd_core.domain.services import (
    ACL,
    ACLInheritanceService,
    CycleDetectionService,
    Grant,
    IParentReader,
    TagInheritanceService,
    TraversalLimits,
)
from cqrs_ddd_core.domain.services.hierarchy import DEFAULT_LIMITS, AsyncReader, HierarchyWalk
from cqrs_ddd_core.domain.services.readers import ACLAndParents, TagsAndParents
from cqrs_ddd_core.primitives.exceptions import HierarchyLimitExceededError, InvalidOperationError
from tests.core.service_variants import CountingReader, build_hierarchy, build_ladder

DIAMOND = build_hierarchy("top", "l < top", "r < top", "me < r l r", "stranger < gone")
Parents = tuple[str, ...]


class RecordingReader(CountingReader[Parents]):
    """Reader that records the ids of each read."""

    def __init__(self) -> None:
        super().__init__(DIAMOND.get_parent_ids)
        self.levels: list[Parents] = []

    def get_many(self, node_ids: Collection[str]) -> Mapping[str, Parents]:
        self.levels.append(tuple(node_ids))
        return super().get_many(node_ids)


def walk(
    *starts: str, limits: TraversalLimits = DEFAULT_LIMITS, reader: object = DIAMOND
) -> HierarchyWalk[str, Parents]:
    links = AsyncReader[str, Parents](reader, "get_parent_ids", is_async=False)
    return HierarchyWalk(starts, links, limits)


async def test_hierarchy_walk_reads_each_level_in_one_call() -> None:
    reader = RecordingReader()

    await walk("me", reader=reader).climb()

    assert reader.levels == [("me",), ("r", "l"), ("top",)]


async def test_hierarchy_walk_finds_nodes_nearest_first_in_parent_order() -> None:
    up = walk("me", "stranger")

    await up.climb()

    assert list(up.records) == ["me", "stranger", "r", "l", "top"]
    assert up.missing == ["gone"]
    assert up.distances == {"me": 0, "stranger": 0, "r": 1, "l": 1, "gone": 1, "top": 2}
    assert up.path_to("top") == ("me", "r", "top")


async def test_hierarchy_walk_does_not_read_cached_records() -> None:
    reader = RecordingReader()
    links = AsyncReader[str, Parents](reader, "get_parent_ids", is_async=False)
    cache: dict[str, Parents | None] = {"me": ("l",), "top": None}

    await HierarchyWalk(("me",), links, DEFAULT_LIMITS, cache).climb()

    assert reader.levels == [("l",)]


async def test_hierarchy_walk_ignores_records_that_were_not_requested() -> None:
    class Generous(RecordingReader):
        def get_many(self, node_ids: Collection[str]) -> Mapping[str, Parents]:
            return super().get_many(("me", "l", "r", "top"))

    up = walk("l", reader=Generous())

    await up.climb()

    assert list(up.records) == ["l", "top"]


async def test_depth_limit_is_the_last_level_that_may_be_read() -> None:
    await walk("me", limits=TraversalLimits(max_depth=2)).climb()

    with pytest.raises(HierarchyLimitExceededError, match="of me need max_depth=2 or more") as got:
        await walk("me", limits=TraversalLimits(max_depth=1)).climb()

    assert (got.value.node_id, got.value.limit, got.value.allowed) == ("me", "max_depth", 1)


async def test_node_limit_is_the_number_of_nodes_that_may_be_read() -> None:
    await walk("me", limits=TraversalLimits(max_nodes=4)).climb()

    with pytest.raises(HierarchyLimitExceededError, match="need max_nodes=4 or more, 3 is"):
        await walk("me", limits=TraversalLimits(max_nodes=3)).climb()


class Endless:
    """Reader with hundreds of further parents for each node."""

    def get_many(self, node_ids: Collection[int]) -> Mapping[int, tuple[int, ...]]:
        return {i: tuple(range(i * 350 + 1, i * 350 + 351)) for i in node_ids}


def test_endless_hierarchy_exceeds_the_default_limits() -> None:
    with pytest.raises(HierarchyLimitExceededError, match="100000 is allowed"):
        CycleDetectionService(Endless()).would_create_cycle(-1, 0)


@pytest.mark.parametrize("limits", [{"max_depth": -1}, {"max_nodes": 0}])
def test_traversal_limit_that_allows_no_read_is_rejected(limits: dict[str, int]) -> None:
    with pytest.raises(InvalidOperationError, match="allows no node to be read"):
        TraversalLimits(**limits)


class RecordingHierarchy(InMemoryHierarchy[str]):
    """Hierarchy with a batch of one kind, which records the round trips."""

    def __init__(self) -> None:
        super().__init__()
        self.trips: list[str] = []

    def get_ancestry(
        self, node_ids: Collection[str], *, max_depth: int | None = None
    ) -> Mapping[str, Parents]:
        self.trips.append("ancestry")
        return super().get_ancestry(node_ids, max_depth=max_depth)


class TagBatches:
    """Reader of tags in batches over a hierarchy, which records the round trips."""

    def __init__(self) -> None:
        self.source = RecordingHierarchy()
        self.trips = self.source.trips
        self.get_ancestry = self.source.get_ancestry

    def get_many(self, node_ids: Collection[str]) -> Mapping[str, TagsAndParents[str]]:
        self.trips.append("tags")
        found = {node_id: self.source.get_tags_and_parents(node_id) for node_id in node_ids}
        return {node_id: record for node_id, record in found.items() if record is not None}


class ACLBatches:
    """Reader of access lists in batches over a hierarchy, which records the round trips."""

    def __init__(self) -> None:
        self.source = RecordingHierarchy()
        self.trips = self.source.trips
        self.get_ancestry = self.source.get_ancestry

    def get_many(self, node_ids: Collection[str]) -> Mapping[str, ACLAndParents[str]]:
        self.trips.append("lists")
        found = {node_id: self.source.get_acl_and_parents(node_id) for node_id in node_ids}
        return {node_id: record for node_id, record in found.items() if record is not None}


class ReaderOfSeveralKinds(ACLBatches):
    """Reader of parents and of access lists with batches of access lists only."""

    def __init__(self) -> None:
        self.source = RecordingHierarchy()
        self.trips = self.source.trips

    def get_parent_ids(self, node_id: str) -> Parents | None:
        return self.source.get_parent_ids(node_id)

    def get_acl_and_parents(self, node_id: str) -> ACLAndParents[str] | None:
        return self.source.get_acl_and_parents(node_id)


def test_batch_of_access_lists_is_not_read_as_a_batch_of_parents() -> None:
    reader = ReaderOfSeveralKinds()
    reader.source.node("root").node("leaf", ("root",))

    parents: IParentReader[str] = reader
    assert CycleDetectionService(parents).would_create_cycle("root", "leaf")


def fill(source: InMemoryHierarchy[str]) -> None:
    read_by_ann = ACL.from_grants(Grant("ann", "read"))
    for i in range(50):
        source.node(f"n{i}", (f"n{i - 1}",) if i else (), tags=(f"t{i}",), acl=read_by_ann)


def test_ancestry_and_its_values_are_read_in_one_round_trip_each() -> None:
    links, tags, acls = RecordingHierarchy(), TagBatches(), ACLBatches()
    for source in (links, tags.source, acls.source):
        fill(source)

    assert CycleDetectionService(links).would_create_cycle("n0", "n49")
    assert len(TagInheritanceService(tags).effective_tags("n49")) == 50
    assert ACLInheritanceService(acls).is_allowed("n49", ["ann"], "read")

    assert links.trips == ["ancestry"]
    assert tags.trips == ["ancestry", "tags"]
    assert acls.trips == ["ancestry", "lists"]


def test_dangling_ancestor_costs_no_further_round_trip() -> None:
    source = TagBatches()
    fill(source.source)
    source.source.node("n0", ("gone",))

    assert TagInheritanceService(source).find_tags("n49") is not None
    assert source.trips == ["ancestry", "tags"]


def test_parent_link_that_appears_between_two_reads_is_followed() -> None:
    class Moving(ACLBatches):
        def get_many(self, node_ids: Collection[str]) -> Mapping[str, ACLAndParents[str]]:
            self.source.node("me", ("strict",))
            return super().get_many(node_ids)

    lists = Moving()
    lists.source.node("me").node("strict", acl=ACL.nobody())

    assert ACLInheritanceService(lists).effective_acl("me").sources == ("strict",)


async def test_levels_beyond_a_depth_limit_are_read_on_demand() -> None:
    source = TagBatches()
    fill(source.source)
    reader = AsyncReader[str, TagsAndParents[str]](source, "get_tags_and_parents", is_async=False)

    assert (await reader.read_upwards(["n49"], 3))["n46"] == (("t46",), ("n45",))
    assert "n45" not in await reader.read_upwards(["n49"], 3)
    assert (await reader.read_upwards(["n45"], 3))["n45"] == (("t45",), ("n44",))


def test_ancestry_with_exponentially_many_paths_is_found_in_one_walk() -> None:
    whole = build_ladder(30)

    assert len(whole.get_ancestry(("b0",))) == 91
    assert CycleDetectionService(whole).find_cycle_path("b30", "b0") is not None
