from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryHierarchy
from cqrs_ddd_core.domain.services import (
    ACL,
    ACLInheritanceService,
    CycleDetectionService,
    Grant,
    HierarchyWalk,
    TagInheritanceService,
    TraversalLimits,
    drive,
    drive_async,
)
from cqrs_ddd_core.domain.services.hierarchy import levels
from cqrs_ddd_core.primitives.exceptions import (
    HierarchyLimitExceededError,
    InvalidOperationError,
)
from tests.core.ways import hierarchy, ladder

DIAMOND = hierarchy("top", "l < top", "r < top", "me < r l r", "stranger < gone")
Record = tuple[None, tuple[str, ...]]


def walk(*starts: str, **options: TraversalLimits) -> HierarchyWalk[str, None]:
    limits = options.get("limits", TraversalLimits())
    return HierarchyWalk[str, None](starts, limits)


def read(node_ids: Collection[str]) -> Mapping[str, Record]:
    found = DIAMOND.get_parent_ids_many(node_ids)
    return {node_id: (None, parents) for node_id, parents in found.items()}


def test_each_level_is_asked_for_at_once() -> None:
    steps = walk("me").climb()

    assert next(steps) == ("me",)
    assert steps.send(read(["me"])) == ("r", "l")
    assert steps.send(read(["r", "l"])) == ("top",)
    with pytest.raises(StopIteration):
        steps.send(read(["top"]))


def test_nodes_are_found_nearest_first_and_in_the_order_of_the_parents() -> None:
    up = walk("me", "stranger")

    drive(up.climb(), read)

    assert list(up.records) == ["me", "stranger", "r", "l", "top"]
    assert up.missing == ["gone"]
    assert up.distances == {"me": 0, "stranger": 0, "r": 1, "l": 1, "gone": 1, "top": 2}
    assert up.path_to("top") == ("me", "r", "top")


async def test_the_same_steps_run_over_a_coroutine_function() -> None:
    up = walk("me")

    async def read_async(node_ids: Collection[str]) -> Mapping[str, Record]:
        return read(node_ids)

    await drive_async(up.climb(), read_async)

    assert list(up.records) == ["me", "r", "l", "top"]


def test_what_is_known_is_not_asked_for() -> None:
    up = HierarchyWalk[str, None](("me",), TraversalLimits(), {"me": (None, ("l",))})
    steps = up.climb()

    assert next(steps) == ("l",)


def test_records_that_nobody_asked_for_are_left_alone() -> None:
    up = walk("l")

    drive(up.climb(), lambda _: read(["me", "l", "r", "top"]))

    assert list(up.records) == ["l", "top"]


def test_the_limit_is_the_last_depth_that_may_be_read() -> None:
    drive(walk("me", limits=TraversalLimits(max_depth=2)).climb(), read)

    with pytest.raises(HierarchyLimitExceededError, match="of me need max_depth=2 or more") as got:
        drive(walk("me", limits=TraversalLimits(max_depth=1)).climb(), read)

    assert (got.value.node_id, got.value.limit, got.value.allowed) == ("me", "max_depth", 1)


def test_the_limit_is_the_last_number_of_nodes_that_may_be_read() -> None:
    drive(walk("me", limits=TraversalLimits(max_nodes=4)).climb(), read)

    with pytest.raises(HierarchyLimitExceededError, match="need max_nodes=4 or more, 3 is"):
        drive(walk("me", limits=TraversalLimits(max_nodes=3)).climb(), read)


def test_by_default_a_hierarchy_without_end_is_given_up() -> None:
    with pytest.raises(HierarchyLimitExceededError, match="100000 is allowed"):
        CycleDetectionService(Endless()).would_create_cycle(-1, 0)


@pytest.mark.parametrize("limits", [{"max_depth": -1}, {"max_nodes": 0}])
def test_a_limit_that_allows_nothing_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InvalidOperationError):
        TraversalLimits(**limits)


class Endless:
    """Hundreds of further parents for each node."""

    def get_parent_ids_many(self, node_ids: Collection[int]) -> Mapping[int, tuple[int, ...]]:
        return {i: tuple(range(i * 350 + 1, i * 350 + 351)) for i in node_ids}


class CountingAncestry(InMemoryHierarchy[str]):
    """Counts the round trips."""

    def __init__(self) -> None:
        super().__init__()
        self.trips: list[str] = []

    def get_ancestry(
        self, node_ids: Collection[str], *, max_depth: int | None = None
    ) -> Mapping[str, tuple[str, ...]]:
        self.trips.append("ancestry")
        return InMemoryHierarchy.get_ancestry(self, node_ids, max_depth=max_depth)

    def get_acl_and_parents_many(
        self, node_ids: Collection[str]
    ) -> Mapping[str, tuple[ACL | None, tuple[str, ...]]]:
        self.trips.append("lists")
        return super().get_acl_and_parents_many(node_ids)

    def get_tags_and_parents_many(
        self, node_ids: Collection[str]
    ) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        self.trips.append("tags")
        return super().get_tags_and_parents_many(node_ids)


@pytest.fixture
def counted() -> CountingAncestry:
    read_by_ann = ACL.allowing(Grant("ann", "read"))
    found = CountingAncestry()
    for i in range(50):
        found.node(f"n{i}", (f"n{i - 1}",) if i else (), tags=(f"t{i}",), acl=read_by_ann)
    return found


def test_a_whole_ancestry_is_one_round_trip_and_its_values_another(
    counted: CountingAncestry,
) -> None:
    assert CycleDetectionService(counted).would_create_cycle("n0", "n49")
    assert counted.trips == ["ancestry"]
    counted.trips.clear()

    assert len(TagInheritanceService(counted).effective_tags("n49")) == 50
    assert counted.trips == ["ancestry", "tags"]
    counted.trips.clear()

    assert ACLInheritanceService(counted).is_allowed("n49", ["ann"], "read")
    assert counted.trips == ["ancestry", "lists"]


def test_a_dangling_ancestor_costs_no_further_round_trip(counted: CountingAncestry) -> None:
    counted.node("n0", ("gone",))

    assert TagInheritanceService(counted).find_tags("n49") is not None
    assert counted.trips == ["ancestry", "tags"]


def test_a_link_that_appears_between_the_two_reads_is_followed(counted: CountingAncestry) -> None:
    class Moving(CountingAncestry):
        def get_acl_and_parents_many(
            self, node_ids: Collection[str]
        ) -> Mapping[str, tuple[ACL | None, tuple[str, ...]]]:
            self.node("me", ("strict",))
            return super().get_acl_and_parents_many(node_ids)

    source = Moving().node("me").node("strict", acl=ACL.nobody())

    assert ACLInheritanceService(source).effective_acl("me").sources == ("strict",)


def test_what_a_depth_limit_left_unread_is_read_when_it_is_asked_for(
    counted: CountingAncestry,
) -> None:
    limits = TraversalLimits(max_depth=3)
    level = levels(counted.get_tags_and_parents_many, counted, limits)

    assert level(("n49",))["n46"] == (("t46",), ("n45",))
    assert level(("n45",))["n45"] == (("t45",), ("n44",))
    assert counted.trips == ["ancestry", "tags"] * 2


def test_both_kinds_of_walk_find_the_same_on_a_ladder() -> None:
    whole = ladder(30)
    links = {node: whole.get_parent_ids(node) or () for node in whole.get_ancestry(("b0",))}

    assert len(links) == 91
    assert CycleDetectionService(whole).find_cycle_path("b30", "b0") is not None
