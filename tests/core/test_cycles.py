from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_core.adapters.memory.hierarchy import (
    CountingReader,
    InMemoryHierarchy,
    InMemoryParentReader,
)
from cqrs_ddd_core.domain.services import CycleDetectionService, TraversalLimits
from cqrs_ddd_core.primitives.exceptions import (
    CorruptHierarchyError,
    CycleDetectedError,
    HierarchyLimitExceededError,
    InvalidOperationError,
    InvariantViolationError,
    NodeNotFoundError,
)
from tests.core.ways import WAYS, Way, hierarchy, ladder

in_every_way = pytest.mark.parametrize("way", WAYS, ids=str)

FAMILY = hierarchy(
    "root", "uncle < root", "parent < root", "me < parent", "sister < parent",
    "child < me", "grandchild < child", "great < grandchild", "last < great", "stranger",
)  # fmt: skip
LOOP = hierarchy("a < c", "b < a", "c < b", "below < a", "other")


@in_every_way
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
        pytest.param("nobody", False, id="missing"),
    ],
)
async def test_a_descendant_cannot_become_the_parent_and_anyone_else_can(
    way: Way, parent: str | None, expected: bool
) -> None:
    assert await way.cycles(FAMILY).would_create_cycle("me", parent) is expected


@in_every_way
async def test_a_shared_ancestor_is_not_a_cycle(way: Way) -> None:
    diamond = hierarchy("top", "left < top", "right < top", "bottom < left")

    cycles = way.cycles(diamond)

    assert not await cycles.would_create_cycle("bottom", "right")
    assert await cycles.would_create_cycle("top", "bottom")


@in_every_way
async def test_a_stored_cycle_elsewhere_ends_the_walk(way: Way) -> None:
    assert not await way.cycles(LOOP).would_create_cycle("other", "below")


@in_every_way
async def test_a_stored_cycle_through_the_node_is_found(way: Way) -> None:
    assert await way.cycles(LOOP).would_create_cycle("a", "below")


@in_every_way
async def test_a_long_chain_needs_no_recursion(way: Way) -> None:
    chain = InMemoryHierarchy[int]()
    for i in range(1_101):
        chain.node(i, (i + 1,) if i < 1_100 else ())

    assert await way.cycles(chain).would_create_cycle(1_100, 0)


def test_a_chain_of_20_000_needs_no_recursion() -> None:
    chain = InMemoryParentReader({i: (i + 1,) if i < 20_000 else () for i in range(20_000)})
    cycles = CycleDetectionService(chain, limits=TraversalLimits(max_nodes=None))

    assert not cycles.would_create_cycle(-1, 0)
    assert cycles.would_create_cycle(19_999, 0)


def test_many_ways_up_are_one_walk() -> None:
    reader = CountingReader(ladder(500))

    assert CycleDetectionService(reader).would_create_cycle("b500", "b0")
    assert not CycleDetectionService(reader).would_create_cycle("new", "b0")


def test_a_root_goes_under_another_root() -> None:
    assert not CycleDetectionService(FAMILY).would_create_cycle("root", "stranger")


def test_a_new_node_goes_anywhere_but_under_itself() -> None:
    cycles = CycleDetectionService(FAMILY)

    assert not cycles.would_create_cycle("new", "last")
    assert cycles.would_create_cycle("new", "new")


@in_every_way
async def test_a_missing_parent_or_ancestor_is_an_error_on_demand(way: Way) -> None:
    dangling = hierarchy("a < gone")
    cycles = way.cycles(dangling, on_missing="raise")

    for parent in ("gone", "a"):
        with pytest.raises(NodeNotFoundError, match="no node gone, which is named as a") as caught:
            await cycles.would_create_cycle("new", parent)
        assert caught.value.node_id == "gone"
    assert not await way.cycles(dangling).would_create_cycle("new", "a")


def test_a_stored_cycle_is_an_error_on_demand() -> None:
    cycles = CycleDetectionService(LOOP, strict=True)

    with pytest.raises(CorruptHierarchyError, match="the stored links form a cycle") as caught:
        cycles.would_create_cycle("other", "below")

    assert set(caught.value.path) == {"a", "b", "c"}
    assert caught.value.path[0] == caught.value.path[-1]
    assert not cycles.would_create_cycle("new", "other")


def test_one_bad_parent_among_several_is_enough() -> None:
    cycles = CycleDetectionService(FAMILY)

    assert cycles.would_create_cycle_any("me", ("uncle", "great", "stranger"))
    assert not cycles.would_create_cycle_any("me", ("uncle", "stranger"))
    assert not cycles.would_create_cycle_any("me", ())


def test_a_text_is_not_taken_for_many_parents() -> None:
    with pytest.raises(InvalidOperationError, match="got the text 'child'"):
        CycleDetectionService(FAMILY).would_create_cycle_any("me", "child")


@in_every_way
async def test_the_path_leads_from_the_node_over_the_parent_back_to_it(way: Way) -> None:
    cycles = way.cycles(FAMILY)

    path = await cycles.find_cycle_path("me", "grandchild")

    assert path == ("me", "grandchild", "child", "me")
    assert await cycles.find_cycle_path("me", "me") == ("me", "me")
    assert await cycles.find_cycle_path("me", "uncle") is None


@in_every_way
async def test_the_refusal_carries_the_path(way: Way) -> None:
    cycles = way.cycles(FAMILY)

    with pytest.raises(CycleDetectedError, match="me -> child -> me; choose another") as caught:
        await cycles.ensure_acyclic("me", ("uncle", "child"))

    assert caught.value.path == ("me", "child", "me")
    assert isinstance(caught.value, InvariantViolationError)
    await cycles.ensure_acyclic("me", ("uncle", "stranger"))


@in_every_way
@pytest.mark.parametrize(
    ("limits", "limit"),
    [(TraversalLimits(max_depth=2), "max_depth"), (TraversalLimits(max_nodes=3), "max_nodes")],
)
async def test_at_a_limit_there_is_no_answer(way: Way, limits: TraversalLimits, limit: str) -> None:
    cycles = way.cycles(FAMILY, limits=limits)

    with pytest.raises(HierarchyLimitExceededError) as caught:
        await cycles.would_create_cycle("stranger", "last")

    assert (caught.value.limit, caught.value.node_id) == (limit, "last")
    assert not await cycles.would_create_cycle("stranger", "me")
    assert await cycles.would_create_cycle("grandchild", "last")


def test_each_level_is_one_round_trip_and_each_node_is_read_once() -> None:
    reader = CountingReader(ladder(10))

    CycleDetectionService(reader).would_create_cycle("new", "b0")

    assert reader.round_trips == 21
    assert set(reader.asked.values()) == {1}


def test_no_read_tells_that_a_node_is_not_its_own_parent() -> None:
    reader = CountingReader(FAMILY)
    cycles = CycleDetectionService(reader)

    assert cycles.would_create_cycle("me", "me")
    assert not cycles.would_create_cycle("me", None)
    assert reader.round_trips == 0


@in_every_way
async def test_a_stored_cycle_is_found_wherever_it_lies_above(way: Way) -> None:
    cycles = way.cycles(LOOP)

    assert await cycles.detect_existing_cycle("other") is None
    path = await cycles.detect_existing_cycle("below")
    assert path is not None
    assert set(path) == {"a", "b", "c"}
    assert await way.cycles(hierarchy("a < a")).detect_existing_cycle("a") == ("a", "a")


@in_every_way
async def test_links_are_judged_together(way: Way) -> None:
    cycles = way.cycles(hierarchy("root", "a < root", "b < root", "c < b"))

    with pytest.raises(CycleDetectedError) as caught:
        await cycles.check_links({"a": ("c",), "b": ("a",)})

    assert set(caught.value.path) == {"a", "b", "c"}
    await cycles.check_links({"a": ("c",), "b": ()})
    await cycles.check_links({"x": ("y",), "y": ("a",)})
    # The link of b that would close a cycle is replaced.
    await cycles.check_links({"root": ("c",), "b": ()})


def test_links_are_not_blamed_for_a_cycle_that_they_have_no_part_in() -> None:
    links = {f"x{i}": (f"x{i - 1}",) for i in range(1, 2_000)} | {"x0": ("below",)}

    CycleDetectionService(LOOP).check_links(links)
    with pytest.raises(CorruptHierarchyError):
        CycleDetectionService(LOOP, strict=True).check_links(links)


@in_every_way
async def test_the_depth_counts_links_to_the_nearest_or_farthest_root(way: Way) -> None:
    cycles = way.cycles(hierarchy("top", "a < top", "b < a", "c < b top", "d < gone"))

    assert await cycles.depth_of("top") == 0
    assert await cycles.depth_of("c") == 1
    assert await cycles.depth_of("c", longest=True) == 3
    assert await cycles.depth_of("d") == await cycles.depth_of("d", longest=True) == 1
    with pytest.raises(NodeNotFoundError, match="no node gone, so it has no depth"):
        await cycles.depth_of("gone")


def test_a_cycle_has_no_depth() -> None:
    for longest in (False, True):
        with pytest.raises(CorruptHierarchyError):
            CycleDetectionService(LOOP).depth_of("a", longest=longest)


Links = dict[int, tuple[int, ...]]


@st.composite
def some_links(draw: st.DrawFn, *, acyclic: bool) -> Links:
    size = draw(st.integers(1, 8))
    return {
        node: tuple(draw(st.lists(st.integers(node + 1 if acyclic else 0, size), max_size=3)))
        for node in range(size)
    } | {size: ()}


def reachable(links: Links, start: int) -> set[int]:
    found = {start}
    while grown := {p for node in found for p in links.get(node, ())} - found:
        found |= grown
    return found


@settings(max_examples=50)
@given(some_links(acyclic=True), st.integers(0, 9), st.integers(0, 9))
def test_no_new_cycle_is_accepted_and_no_other_link_refused(
    links: Links, node: int, parent: int
) -> None:
    refused = CycleDetectionService(InMemoryParentReader(links)).would_create_cycle(node, parent)

    links = {**links, node: (*links.get(node, ()), parent)}
    assert refused == any(
        at in reachable(links, above) for at, parents in links.items() for above in parents
    )


@settings(max_examples=50)
@given(some_links(acyclic=False), some_links(acyclic=False))
def test_links_judged_together_are_refused_for_a_cycle_through_one_of_them(
    stored: Links, given: Links
) -> None:
    together = {**stored, **given}
    expected = any(at in reachable(together, above) for at in given for above in given[at])
    cycles = CycleDetectionService(InMemoryParentReader(stored))

    refused: tuple[Any, ...] = ()
    try:
        cycles.check_links(given)
    except CycleDetectedError as error:
        refused = error.path

    assert bool(refused) == expected
    assert all(above in together[at] for at, above in pairwise(refused))


class WalksEveryWay(CycleDetectionService[str]):
    """Calls itself for each parent, and forgets which nodes it has seen on another way."""

    def __init__(self, reader: InMemoryHierarchy[str]) -> None:
        super().__init__(reader)
        self._tree = reader
        self._steps = 0

    def would_create_cycle(self, node_id: str, new_parent_id: str | None) -> bool:
        self._steps += 1
        if self._steps > 5_000:
            raise TimeoutError("a walk without end")
        return new_parent_id == node_id or any(
            self.would_create_cycle(node_id, parent)
            for parent in self._tree.get_parent_ids(new_parent_id or "") or ()
        )


class AnswersAtTheLimit(CycleDetectionService[str]):
    """Takes what was read so far for all there is."""

    def would_create_cycle(self, node_id: str, new_parent_id: str | None) -> bool:
        try:
            return super().would_create_cycle(node_id, new_parent_id)
        except HierarchyLimitExceededError:
            return False


def _ends_on_a_cycle(cycles: CycleDetectionService[str]) -> None:
    assert not cycles.would_create_cycle("other", "below")


def _ends_on_a_ladder(cycles: CycleDetectionService[str]) -> None:
    assert not cycles.would_create_cycle("new", "b0")


def _gives_no_answer_at_a_limit(cycles: CycleDetectionService[str]) -> None:
    with pytest.raises(HierarchyLimitExceededError):
        cycles.would_create_cycle("root", "last")


@pytest.mark.parametrize(
    ("naive", "sound", "sentence", "symptom"),
    [
        (WalksEveryWay(LOOP), CycleDetectionService(LOOP), _ends_on_a_cycle, RecursionError),
        (
            WalksEveryWay(ladder(20)),
            CycleDetectionService(ladder(20)),
            _ends_on_a_ladder,
            TimeoutError,
        ),
        (
            AnswersAtTheLimit(FAMILY, limits=TraversalLimits(max_nodes=3)),
            CycleDetectionService(FAMILY, limits=TraversalLimits(max_nodes=3)),
            _gives_no_answer_at_a_limit,
            pytest.fail.Exception,
        ),
    ],
)
def test_a_naive_service_is_caught(
    naive: CycleDetectionService[str],
    sound: CycleDetectionService[str],
    sentence: Callable[[CycleDetectionService[str]], None],
    symptom: type[BaseException],
) -> None:
    sentence(sound)
    with pytest.raises(symptom):
        sentence(naive)
