from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryHierarchy
from cqrs_ddd_core.domain.services import CycleDetectionService, TraversalLimits
from cqrs_ddd_core.primitives.exceptions import (
    CorruptHierarchyError,
    CycleDetectedError,
    HierarchyLimitExceededError,
    InvalidOperationError,
    InvariantViolationError,
    NodeNotFoundError,
)
from tests.core.service_variants import (
    CountingReader,
    ServiceVariant,
    build_hierarchy,
    build_ladder,
    each_variant,
)

FAMILY = build_hierarchy(
    "root", "uncle < root", "parent < root", "me < parent", "sister < parent",
    "child < me", "grandchild < child", "great < grandchild", "last < great", "stranger",
)  # fmt: skip
LOOP = build_hierarchy("a < c", "b < a", "c < b", "below < a", "other")

Links = dict[int, tuple[int, ...]]


def build_links(links: Links) -> InMemoryHierarchy[int]:
    found = InMemoryHierarchy[int]()
    for node, parents in links.items():
        found.node(node, parents)
    return found


@each_variant
@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        pytest.param("me", True, id="itself"),
        pytest.param("child", True, id="child"),
        pytest.param("grandchild", True, id="grandchild"),
        pytest.param("last", True, id="five-below"),
        pytest.param("stranger", False, id="unrelated"),
        pytest.param("sister", False, id="sibling"),
        pytest.param("root", False, id="grandparent"),
        pytest.param("parent", False, id="parent-already"),
        pytest.param("uncle", False, id="uncle"),
        pytest.param(None, False, id="no-parent"),
        pytest.param("absent", False, id="missing"),
    ],
)
async def test_only_the_node_and_its_descendants_cannot_become_its_parent(
    variant: ServiceVariant, parent: str | None, expected: bool
) -> None:
    assert await variant.cycles(FAMILY).would_create_cycle("me", parent) is expected


@each_variant
async def test_shared_ancestor_is_not_a_cycle(variant: ServiceVariant) -> None:
    diamond = build_hierarchy("top", "left < top", "right < top", "bottom < left")

    cycles = variant.cycles(diamond)

    assert not await cycles.would_create_cycle("bottom", "right")
    assert await cycles.would_create_cycle("top", "bottom")


@each_variant
async def test_cycle_check_ends_on_a_stored_cycle_elsewhere(variant: ServiceVariant) -> None:
    assert not await variant.cycles(LOOP).would_create_cycle("other", "below")


@each_variant
async def test_stored_cycle_through_the_node_is_found(variant: ServiceVariant) -> None:
    assert await variant.cycles(LOOP).would_create_cycle("a", "below")


@each_variant
async def test_cycle_at_the_end_of_a_long_chain_needs_no_recursion(variant: ServiceVariant) -> None:
    chain = InMemoryHierarchy[int]()
    for i in range(1_101):
        chain.node(i, (i + 1,) if i < 1_100 else ())

    assert await variant.cycles(chain).would_create_cycle(1_100, 0)


def test_cycle_check_of_a_chain_of_20_000_nodes_needs_no_recursion() -> None:
    chain = build_links({i: (i + 1,) for i in range(20_000)})
    cycles = CycleDetectionService(chain, limits=TraversalLimits(max_nodes=None))

    assert not cycles.would_create_cycle(-1, 0)
    assert cycles.would_create_cycle(19_999, 0)


def test_cycle_check_walks_exponentially_many_paths_once() -> None:
    reader = CountingReader(build_ladder(500).get_parent_ids)

    assert CycleDetectionService(reader).would_create_cycle("b500", "b0")
    assert not CycleDetectionService(reader).would_create_cycle("new", "b0")


def test_root_can_be_placed_under_another_root() -> None:
    assert not CycleDetectionService(FAMILY).would_create_cycle("root", "stranger")


def test_new_node_can_be_placed_anywhere_but_under_itself() -> None:
    cycles = CycleDetectionService(FAMILY)

    assert not cycles.would_create_cycle("new", "last")
    assert cycles.would_create_cycle("new", "new")


@each_variant
async def test_cycle_check_raises_for_a_missing_parent_or_ancestor_if_requested(
    variant: ServiceVariant,
) -> None:
    dangling = build_hierarchy("a < gone")
    cycles = variant.cycles(dangling, on_missing="raise")

    for parent in ("gone", "a"):
        with pytest.raises(NodeNotFoundError, match="no node gone, which is named as a") as caught:
            await cycles.would_create_cycle("new", parent)
        assert caught.value.node_id == "gone"
    assert not await variant.cycles(dangling).would_create_cycle("new", "a")


def test_strict_cycle_check_raises_for_a_stored_cycle() -> None:
    cycles = CycleDetectionService(LOOP, strict=True)

    with pytest.raises(CorruptHierarchyError, match="the stored links form a cycle") as caught:
        cycles.would_create_cycle("other", "below")

    assert set(caught.value.path) == {"a", "b", "c"}
    assert caught.value.path[0] == caught.value.path[-1]
    assert not cycles.would_create_cycle("new", "other")


def test_cycle_is_found_if_any_of_several_parents_creates_it() -> None:
    cycles = CycleDetectionService(FAMILY)

    assert cycles.would_create_cycle_any("me", ("uncle", "great", "stranger"))
    assert not cycles.would_create_cycle_any("me", ("uncle", "stranger"))
    assert not cycles.would_create_cycle_any("me", ())


def test_text_is_rejected_as_a_collection_of_parents() -> None:
    with pytest.raises(InvalidOperationError, match="got the text 'child'"):
        CycleDetectionService(FAMILY).would_create_cycle_any("me", "child")


@each_variant
async def test_cycle_path_leads_from_the_node_over_the_parent_back_to_the_node(
    variant: ServiceVariant,
) -> None:
    cycles = variant.cycles(FAMILY)

    path = await cycles.find_cycle_path("me", "grandchild")

    assert path == ("me", "grandchild", "child", "me")
    assert await cycles.find_cycle_path("me", "me") == ("me", "me")
    assert await cycles.find_cycle_path("me", "uncle") is None


@each_variant
async def test_cycle_error_carries_the_path(variant: ServiceVariant) -> None:
    cycles = variant.cycles(FAMILY)

    with pytest.raises(CycleDetectedError, match="me -> child -> me; choose another") as caught:
        await cycles.ensure_acyclic("me", ("uncle", "child"))

    assert caught.value.path == ("me", "child", "me")
    assert isinstance(caught.value, InvariantViolationError)
    await cycles.ensure_acyclic("me", ("uncle", "stranger"))


@each_variant
@pytest.mark.parametrize(
    ("limits", "limit"),
    [(TraversalLimits(max_depth=2), "max_depth"), (TraversalLimits(max_nodes=3), "max_nodes")],
)
async def test_cycle_check_beyond_a_traversal_limit_raises(
    variant: ServiceVariant, limits: TraversalLimits, limit: str
) -> None:
    cycles = variant.cycles(FAMILY, limits=limits)

    with pytest.raises(HierarchyLimitExceededError) as caught:
        await cycles.would_create_cycle("stranger", "last")

    assert (caught.value.limit, caught.value.node_id) == (limit, "last")
    assert not await cycles.would_create_cycle("stranger", "me")
    assert await cycles.would_create_cycle("grandchild", "last")


def test_cycle_service_reads_each_level_in_one_round_trip_and_each_node_once() -> None:
    reader = CountingReader(build_ladder(10).get_parent_ids)

    CycleDetectionService(reader).would_create_cycle("new", "b0")

    assert reader.round_trips == 21
    assert set(reader.reads.values()) == {1}


def test_node_as_its_own_parent_is_rejected_without_a_read() -> None:
    reader = CountingReader(FAMILY.get_parent_ids)
    cycles = CycleDetectionService(reader)

    assert cycles.would_create_cycle("me", "me")
    assert not cycles.would_create_cycle("me", None)
    assert reader.round_trips == 0


@each_variant
async def test_stored_cycle_is_found_anywhere_above_the_node(variant: ServiceVariant) -> None:
    cycles = variant.cycles(LOOP)

    assert await cycles.detect_existing_cycle("other") is None
    path = await cycles.detect_existing_cycle("below")
    assert path is not None
    assert set(path) == {"a", "b", "c"}
    assert await variant.cycles(build_hierarchy("a < a")).detect_existing_cycle("a") == ("a", "a")


@each_variant
async def test_new_links_are_checked_for_cycles_together(variant: ServiceVariant) -> None:
    cycles = variant.cycles(build_hierarchy("root", "a < root", "b < root", "c < b"))

    with pytest.raises(CycleDetectedError) as caught:
        await cycles.check_links({"a": ("c",), "b": ("a",)})

    assert set(caught.value.path) == {"a", "b", "c"}
    # Each of two links is harmless alone.
    with pytest.raises(CycleDetectedError):
        await cycles.check_links({"a": ("b",), "b": ("a",)})
    await cycles.check_links({"a": ("b",)})
    await cycles.check_links({"b": ("a",)})
    await cycles.check_links({"a": ("c",), "b": ()})
    await cycles.check_links({"x": ("y",), "y": ("a",)})
    # The new links of b replace the link that would close a cycle.
    await cycles.check_links({"root": ("c",), "b": ()})


def test_new_links_that_close_no_cycle_are_accepted_despite_a_stored_cycle() -> None:
    links = {f"x{i}": (f"x{i - 1}",) for i in range(1, 2_000)} | {"x0": ("below",)}

    CycleDetectionService(LOOP).check_links(links)
    with pytest.raises(CorruptHierarchyError):
        CycleDetectionService(LOOP, strict=True).check_links(links)


@each_variant
async def test_hierarchy_depth_counts_links_to_the_nearest_or_farthest_root(
    variant: ServiceVariant,
) -> None:
    cycles = variant.cycles(build_hierarchy("top", "a < top", "b < a", "c < b top", "d < gone"))

    assert await cycles.depth_of("top") == 0
    assert await cycles.depth_of("c") == 1
    assert await cycles.depth_of("c", longest=True) == 3
    assert await cycles.depth_of("d") == await cycles.depth_of("d", longest=True) == 1
    with pytest.raises(NodeNotFoundError, match="no node gone, so it has no depth"):
        await cycles.depth_of("gone")


def test_node_on_a_cycle_has_no_depth() -> None:
    for longest in (False, True):
        with pytest.raises(CorruptHierarchyError):
            CycleDetectionService(LOOP).depth_of("a", longest=longest)


@st.composite
def some_links(draw: st.DrawFn, *, acyclic: bool) -> Links:
    size = draw(st.integers(1, 8))
    return {
        node: tuple(draw(st.lists(st.integers(node + 1 if acyclic else 0, size), max_size=3)))
        for node in range(size)
    } | {size: ()}


def find_reachable(links: Links, start: int) -> set[int]:
    found = {start}
    while grown := {p for node in found for p in links.get(node, ())} - found:
        found |= grown
    return found


@settings(max_examples=50)
@given(some_links(acyclic=True), st.integers(0, 9), st.integers(0, 9))
def test_cycle_check_rejects_exactly_the_links_that_close_a_cycle(
    links: Links, node: int, parent: int
) -> None:
    rejected = CycleDetectionService(build_links(links)).would_create_cycle(node, parent)

    links = {**links, node: (*links.get(node, ()), parent)}
    assert rejected == any(
        at in find_reachable(links, above) for at, parents in links.items() for above in parents
    )


@settings(max_examples=50)
@given(some_links(acyclic=False), some_links(acyclic=False))
def test_new_links_are_rejected_for_a_cycle_through_one_of_them(
    stored: Links, given: Links
) -> None:
    together = {**stored, **given}
    expected = any(at in find_reachable(together, above) for at in given for above in given[at])
    cycles = CycleDetectionService(build_links(stored))

    rejected: tuple[Any, ...] = ()
    try:
        cycles.check_links(given)
    except CycleDetectedError as error:
        rejected = error.path

    assert bool(rejected) == expected
    assert all(above in together[at] for at, above in pairwise(rejected))


class WalksEveryPath(CycleDetectionService[str]):
    """Wrong variant: recurses for each parent and does not remember the nodes it has visited."""

    def __init__(self, reader: InMemoryHierarchy[str]) -> None:
        super().__init__(reader)
        self._tree = reader
        self._steps = 0

    def would_create_cycle(self, node_id: str, new_parent_id: str | None) -> bool:
        self._steps += 1
        if self._steps > 5_000:
            raise TimeoutError("the walk does not end")
        return new_parent_id == node_id or any(
            self.would_create_cycle(node_id, parent)
            for parent in self._tree.get_parent_ids(new_parent_id or "") or ()
        )


class AnswersAtTheLimit(CycleDetectionService[str]):
    """Wrong variant: decides by the nodes that were read before the limit."""

    def would_create_cycle(self, node_id: str, new_parent_id: str | None) -> bool:
        try:
            return super().would_create_cycle(node_id, new_parent_id)
        except HierarchyLimitExceededError:
            return False


def _check_ends_on_a_cycle(cycles: CycleDetectionService[str]) -> None:
    assert not cycles.would_create_cycle("other", "below")


def _check_ends_on_a_ladder(cycles: CycleDetectionService[str]) -> None:
    assert not cycles.would_create_cycle("new", "b0")


def _check_limit_raises(cycles: CycleDetectionService[str]) -> None:
    with pytest.raises(HierarchyLimitExceededError):
        cycles.would_create_cycle("root", "last")


@pytest.mark.parametrize(
    ("naive", "sound", "check", "symptom"),
    [
        (WalksEveryPath(LOOP), CycleDetectionService(LOOP), _check_ends_on_a_cycle, RecursionError),
        (
            WalksEveryPath(build_ladder(20)),
            CycleDetectionService(build_ladder(20)),
            _check_ends_on_a_ladder,
            TimeoutError,
        ),
        (
            AnswersAtTheLimit(FAMILY, limits=TraversalLimits(max_nodes=3)),
            CycleDetectionService(FAMILY, limits=TraversalLimits(max_nodes=3)),
            _check_limit_raises,
            pytest.fail.Exception,
        ),
    ],
)
def test_cycle_check_catches_each_wrong_cycle_detection_service(
    naive: CycleDetectionService[str],
    sound: CycleDetectionService[str],
    check: Callable[[CycleDetectionService[str]], None],
    symptom: type[BaseException],
) -> None:
    check(sound)
    with pytest.raises(symptom):
        check(naive)
