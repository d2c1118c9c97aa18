from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_core.adapters.memory.hierarchy import (
    CountingReader,
    InMemoryHierarchy,
    InMemoryTagReader,
)
from cqrs_ddd_core.domain.services import (
    TagInheritanceService,
    TagResult,
    TagSource,
    TraversalLimits,
)
from cqrs_ddd_core.primitives.exceptions import (
    HierarchyLimitExceededError,
    InvalidOperationError,
    NodeNotFoundError,
)
from tests.core.ways import WAYS, Way

in_every_way = pytest.mark.parametrize("way", WAYS, ids=str)


def tree() -> InMemoryHierarchy[str]:
    return InMemoryHierarchy()


def tags_of(source: InMemoryHierarchy[str], node: str) -> tuple[str, ...]:
    return TagInheritanceService(source).effective_tags(node)


FAMILY = (
    tree()
    .node("root", tags=("all", "old"))
    .node("other", tags=("other", "old"))
    .node("parent", ("root",), tags=("p2", "p1"))
    .node("second", ("other",), tags=("s", "p1"))
    .node("me", ("parent", "second"), tags=("mine", "all", "also mine"))
)
LOOP = (
    tree()
    .node("a", ("c",), tags=("A",))
    .node("b", ("a",), tags=("B",))
    .node("c", ("b",), tags=("C",))
)


def test_without_parents_there_are_only_own_tags() -> None:
    assert tags_of(FAMILY, "root") == ("all", "old")


def test_with_parents_without_tags_there_are_only_own_tags() -> None:
    assert tags_of(tree().node("root").node("me", ("root",), tags=("x",)), "me") == ("x",)


@in_every_way
async def test_a_parent_hands_its_tags_down(way: Way) -> None:
    source = tree().node("root", tags=("r",)).node("me", ("root",), tags=("m",))

    assert await way.tags(source).effective_tags("me") == ("m", "r")


@in_every_way
async def test_own_tags_come_first_as_stored_then_the_nearest(way: Way) -> None:
    assert await way.tags(FAMILY).effective_tags("me") == (
        "mine", "all", "also mine", "p2", "p1", "s", "old", "other",
    )  # fmt: skip


def test_tags_pass_over_three_levels_and_count_once() -> None:
    source = (
        tree()
        .node("a", tags=("x", "deep"))
        .node("b", ("a",))
        .node("c", ("b",), tags=("x",))
        .node("d", ("c",), tags=("x", "d", "x"))
    )

    assert tags_of(source, "d") == ("x", "d", "deep")


def test_at_one_distance_the_order_of_the_parents_decides() -> None:
    source = tree().node("l", tags=("left",)).node("r", tags=("right",))

    assert tags_of(source.node("me", ("l", "r")), "me") == ("left", "right")
    assert tags_of(source.node("me", ("r", "l")), "me") == ("right", "left")


@in_every_way
async def test_several_parents_unite_and_a_shared_ancestor_counts_once(way: Way) -> None:
    source = (
        tree()
        .node("top", tags=("t",))
        .node("l", ("top",), tags=("l",))
        .node("r", ("top",), tags=("r",))
        .node("me", ("l", "r"))
    )

    result = await way.tags(source).find_tags("me")

    assert result == TagResult(
        tags=("l", "r", "t"),
        inherited=("l", "r", "t"),
        sources={
            "l": (TagSource("l", 1),),
            "r": (TagSource("r", 1),),
            "t": (TagSource("top", 2),),
        },
    )


def test_nodes_without_tags_have_none_and_hand_on_none() -> None:
    source = tree().node("root").node("me", ("root",))

    assert tags_of(source, "me") == ()
    assert TagInheritanceService(source).find_tags("me") == TagResult((), (), {})


def test_inherited_tags_are_those_of_ancestors_also_when_the_node_has_them_itself() -> None:
    tags = TagInheritanceService(FAMILY)

    assert tags.inherited_tags("me") == ("p2", "p1", "s", "all", "old", "other")
    assert tags.inherited_tags("root") == ()


@in_every_way
async def test_a_missing_node_is_an_error_and_not_a_node_without_tags(way: Way) -> None:
    tags = way.tags(FAMILY)

    for ask in (tags.effective_tags, tags.inherited_tags, tags.tag_sources):
        with pytest.raises(NodeNotFoundError, match="no node nobody, so it has no tags") as caught:
            await ask("nobody")
        assert caught.value.node_id == "nobody"
    assert await tags.find_tags("nobody") is None


@in_every_way
async def test_a_missing_ancestor_is_skipped_and_reported(way: Way) -> None:
    source = tree().node("root", tags=("r",)).node("me", ("gone", "root"), tags=("m",))

    result = await way.tags(source).find_tags("me")

    assert result is not None
    assert (result.tags, result.missing) == (("m", "r"), ("gone",))


@in_every_way
async def test_all_members_of_a_stored_cycle_have_the_same_tags(way: Way) -> None:
    tags = way.tags(LOOP)

    for member in "abc":
        assert set(await tags.effective_tags(member)) == {"A", "B", "C"}
    assert set(await tags.inherited_tags("a")) == {"B", "C"}


def test_a_node_that_is_its_own_parent_inherits_nothing_from_itself() -> None:
    source = tree().node("me", ("me", "me"), tags=("m",))

    assert tags_of(source, "me") == ("m",)
    assert TagInheritanceService(source).inherited_tags("me") == ()


def test_tags_can_be_the_same_in_another_spelling() -> None:
    source = tree().node("root", tags=("RED", "Blue")).node("me", ("root",), tags=("Red", "red"))

    assert tags_of(source, "me") == ("Red", "red", "RED", "Blue")
    folded = TagInheritanceService(source, normalize=str.casefold)
    assert folded.effective_tags("me") == ("Red", "Blue")
    assert folded.inherited_tags("me") == ("RED", "Blue")
    assert folded.tag_sources("me")["Red"] == (TagSource("me", 0), TagSource("root", 1))


def test_sources_tell_where_a_tag_comes_from_nearest_first() -> None:
    sources = TagInheritanceService(FAMILY).tag_sources("me")

    assert sources["all"] == (TagSource("me", 0), TagSource("root", 2))
    assert sources["p1"] == (TagSource("parent", 1), TagSource("second", 1))
    assert sources["old"] == (TagSource("root", 2), TagSource("other", 2))


def test_a_tag_can_stay_with_its_node() -> None:
    source = (
        tree()
        .node("root", tags=("draft", "r"))
        .node("parent", ("root",), tags=("draft",))
        .node("me", ("parent",), tags=("m",))
    )
    tags = TagInheritanceService(source, is_inherited=lambda node, tag: tag != "draft")

    assert tags.effective_tags("me") == ("m", "r")
    assert tags.effective_tags("parent") == ("draft", "r")


@in_every_way
async def test_many_are_answered_as_one_by_one(way: Way) -> None:
    tags = way.tags(FAMILY)

    answers = await tags.effective_tags_many(("me", "root", "nobody", "second"))

    assert answers == {node: await tags.effective_tags(node) for node in ("me", "root", "second")}


def test_many_read_shared_ancestors_once() -> None:
    reader = CountingReader(FAMILY)

    TagInheritanceService(reader).effective_tags_many(("me", "parent", "second"))

    assert reader.round_trips == 2
    assert set(reader.asked.values()) == {1}


def test_a_text_is_not_taken_for_many_nodes() -> None:
    with pytest.raises(InvalidOperationError, match="got the text 'me'"):
        TagInheritanceService(FAMILY).effective_tags_many("me")


@in_every_way
async def test_a_move_can_be_previewed(way: Way) -> None:
    tags = way.tags(FAMILY)

    assert await tags.would_inherit("me", ("root",)) == ("all", "old")
    assert await tags.would_inherit("new", ("second",)) == ("s", "p1", "other", "old")
    assert await tags.would_inherit("me", ()) == ()
    # Under its own child it would not inherit from itself.
    assert await tags.would_inherit("root", ("parent",)) == ("p2", "p1")


@in_every_way
async def test_a_long_chain_needs_no_recursion(way: Way) -> None:
    chain = InMemoryHierarchy[int]()
    for i in range(1_100):
        chain.node(i, (i + 1,) if i < 1_099 else (), tags=(f"t{i % 5}",))

    assert await way.tags(chain).effective_tags(0) == ("t0", "t1", "t2", "t3", "t4")


@in_every_way
@pytest.mark.parametrize("limits", [TraversalLimits(max_depth=1), TraversalLimits(max_nodes=3)])
async def test_at_a_limit_there_is_no_answer(way: Way, limits: TraversalLimits) -> None:
    tags = way.tags(FAMILY, limits=limits)

    with pytest.raises(HierarchyLimitExceededError):
        await tags.effective_tags("me")
    with pytest.raises(HierarchyLimitExceededError):
        await tags.effective_tags_many(("parent", "me"))
    assert await tags.effective_tags("parent") == ("p2", "p1", "all", "old")


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 6), max_size=3), st.lists(st.sampled_from("xyz"))),
        min_size=7,
        max_size=7,
    ),
    st.randoms(use_true_random=False),
)
def test_the_set_of_tags_is_the_union_above_in_whatever_order_parents_are_named(
    drawn: list[tuple[list[int], list[str]]], random: Random
) -> None:
    nodes = {i: (tuple(tags), tuple(parents)) for i, (parents, tags) in enumerate(drawn)}
    shuffled = {
        i: (tags, tuple(random.sample(parents, len(parents))))
        for i, (tags, parents) in nodes.items()
    }
    plain, mixed = (TagInheritanceService(InMemoryTagReader(d)) for d in (nodes, shuffled))

    for node in nodes:
        above = {node}
        while grown := {parent for at in above for parent in nodes[at][1]} - above:
            above |= grown
        union = {tag for at in above for tag in nodes[at][0]}

        assert set(plain.effective_tags(node)) == union == set(mixed.effective_tags(node))
        assert len(plain.effective_tags(node)) == len(union)
