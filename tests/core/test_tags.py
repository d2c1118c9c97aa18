from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryHierarchy
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
from tests.core.service_variants import CountingReader, ServiceVariant, each_variant


def new_tree() -> InMemoryHierarchy[str]:
    return InMemoryHierarchy()


def find_tags(source: InMemoryHierarchy[str], node: str) -> tuple[str, ...]:
    return TagInheritanceService(source).effective_tags(node)


FAMILY = (
    new_tree()
    .node("root", tags=("all", "old"))
    .node("other", tags=("other", "old"))
    .node("parent", ("root",), tags=("p2", "p1"))
    .node("second", ("other",), tags=("s", "p1"))
    .node("me", ("parent", "second"), tags=("mine", "all", "also mine"))
)
LOOP = (
    new_tree()
    .node("a", ("c",), tags=("A",))
    .node("b", ("a",), tags=("B",))
    .node("c", ("b",), tags=("C",))
)


def test_node_without_parents_has_only_its_own_tags() -> None:
    assert find_tags(FAMILY, "root") == ("all", "old")


def test_node_under_parents_without_tags_has_only_its_own_tags() -> None:
    assert find_tags(new_tree().node("root").node("me", ("root",), tags=("x",)), "me") == ("x",)


@each_variant
async def test_node_inherits_the_tags_of_its_parent(variant: ServiceVariant) -> None:
    source = new_tree().node("root", tags=("r",)).node("me", ("root",), tags=("m",))

    assert await variant.tags(source).effective_tags("me") == ("m", "r")


@each_variant
async def test_own_tags_come_first_in_stored_order_and_then_the_nearest(
    variant: ServiceVariant,
) -> None:
    assert await variant.tags(FAMILY).effective_tags("me") == (
        "mine", "all", "also mine", "p2", "p1", "s", "old", "other",
    )  # fmt: skip


def test_tags_are_inherited_over_three_levels_and_listed_once() -> None:
    source = (
        new_tree()
        .node("a", tags=("x", "deep"))
        .node("b", ("a",))
        .node("c", ("b",), tags=("x",))
        .node("d", ("c",), tags=("x", "d", "x"))
    )

    assert find_tags(source, "d") == ("x", "d", "deep")


def test_tags_at_one_distance_are_in_the_order_of_the_parents() -> None:
    source = new_tree().node("l", tags=("left",)).node("r", tags=("right",))

    assert find_tags(source.node("me", ("l", "r")), "me") == ("left", "right")
    assert find_tags(source.node("me", ("r", "l")), "me") == ("right", "left")


@each_variant
async def test_tags_of_several_parents_unite_and_a_shared_ancestor_counts_once(
    variant: ServiceVariant,
) -> None:
    source = (
        new_tree()
        .node("top", tags=("t",))
        .node("l", ("top",), tags=("l",))
        .node("r", ("top",), tags=("r",))
        .node("me", ("l", "r"))
    )

    result = await variant.tags(source).find_tags("me")

    assert result == TagResult(
        tags=("l", "r", "t"),
        inherited=("l", "r", "t"),
        sources={
            "l": (TagSource("l", 1),),
            "r": (TagSource("r", 1),),
            "t": (TagSource("top", 2),),
        },
    )


def test_nodes_without_tags_have_no_effective_tags() -> None:
    source = new_tree().node("root").node("me", ("root",))

    assert find_tags(source, "me") == ()
    assert TagInheritanceService(source).find_tags("me") == TagResult((), (), {})


def test_tag_of_an_ancestor_is_inherited_although_the_node_has_it() -> None:
    tags = TagInheritanceService(FAMILY)

    assert tags.inherited_tags("me") == ("p2", "p1", "s", "all", "old", "other")
    assert tags.inherited_tags("root") == ()


@each_variant
async def test_tag_query_of_a_missing_node_raises(
    variant: ServiceVariant,
) -> None:
    tags = variant.tags(FAMILY)

    for ask in (tags.effective_tags, tags.inherited_tags, tags.tag_sources):
        with pytest.raises(NodeNotFoundError, match="no node absent, so it has no tags") as caught:
            await ask("absent")
        assert caught.value.node_id == "absent"
    assert await tags.find_tags("absent") is None


@each_variant
async def test_missing_ancestor_has_no_tags_and_is_reported(variant: ServiceVariant) -> None:
    source = new_tree().node("root", tags=("r",)).node("me", ("gone", "root"), tags=("m",))

    result = await variant.tags(source).find_tags("me")

    assert result is not None
    assert (result.tags, result.missing) == (("m", "r"), ("gone",))


@each_variant
async def test_all_members_of_a_stored_cycle_have_the_same_tags(variant: ServiceVariant) -> None:
    tags = variant.tags(LOOP)

    for member in "abc":
        assert set(await tags.effective_tags(member)) == {"A", "B", "C"}
    assert set(await tags.inherited_tags("a")) == {"B", "C"}


def test_node_that_is_its_own_parent_inherits_nothing_from_itself() -> None:
    source = new_tree().node("me", ("me", "me"), tags=("m",))

    assert find_tags(source, "me") == ("m",)
    assert TagInheritanceService(source).inherited_tags("me") == ()


def test_tags_with_different_spellings_can_be_normalised_to_one_tag() -> None:
    source = (
        new_tree().node("root", tags=("RED", "Blue")).node("me", ("root",), tags=("Red", "red"))
    )

    assert find_tags(source, "me") == ("Red", "red", "RED", "Blue")
    folded = TagInheritanceService(source, normalize=str.casefold)
    assert folded.effective_tags("me") == ("Red", "Blue")
    assert folded.inherited_tags("me") == ("RED", "Blue")
    assert folded.tag_sources("me")["Red"] == (TagSource("me", 0), TagSource("root", 1))


def test_sources_of_a_tag_are_listed_nearest_first() -> None:
    sources = TagInheritanceService(FAMILY).tag_sources("me")

    assert sources["all"] == (TagSource("me", 0), TagSource("root", 2))
    assert sources["p1"] == (TagSource("parent", 1), TagSource("second", 1))
    assert sources["old"] == (TagSource("root", 2), TagSource("other", 2))


def test_tag_can_be_excluded_from_inheritance() -> None:
    source = (
        new_tree()
        .node("root", tags=("draft", "r"))
        .node("parent", ("root",), tags=("draft",))
        .node("me", ("parent",), tags=("m",))
    )
    tags = TagInheritanceService(source, is_inherited=lambda node, tag: tag != "draft")

    assert tags.effective_tags("me") == ("m", "r")
    assert tags.effective_tags("parent") == ("draft", "r")


@each_variant
async def test_tags_of_many_nodes_equal_the_tags_read_one_by_one(variant: ServiceVariant) -> None:
    tags = variant.tags(FAMILY)

    answers = await tags.effective_tags_many(("me", "root", "absent", "second"))

    assert answers == {node: await tags.effective_tags(node) for node in ("me", "root", "second")}


def test_shared_ancestors_of_many_nodes_are_read_once() -> None:
    reader = CountingReader(FAMILY.get_tags_and_parents)

    TagInheritanceService(reader).effective_tags_many(("me", "parent", "second"))

    assert reader.round_trips == 2
    assert set(reader.reads.values()) == {1}


def test_text_is_rejected_as_a_collection_of_nodes() -> None:
    with pytest.raises(InvalidOperationError, match="got the text 'me'"):
        TagInheritanceService(FAMILY).effective_tags_many("me")


@each_variant
async def test_tags_after_a_move_can_be_previewed(variant: ServiceVariant) -> None:
    tags = variant.tags(FAMILY)

    assert await tags.would_inherit("me", ("root",)) == ("all", "old")
    assert await tags.would_inherit("new", ("second",)) == ("s", "p1", "other", "old")
    assert await tags.would_inherit("me", ()) == ()
    # Under its own child it would not inherit from itself.
    assert await tags.would_inherit("root", ("parent",)) == ("p2", "p1")


@each_variant
async def test_tags_in_a_long_chain_need_no_recursion(variant: ServiceVariant) -> None:
    chain = InMemoryHierarchy[int]()
    for i in range(1_100):
        chain.node(i, (i + 1,) if i < 1_099 else (), tags=(f"t{i % 5}",))

    assert await variant.tags(chain).effective_tags(0) == ("t0", "t1", "t2", "t3", "t4")


@each_variant
@pytest.mark.parametrize("limits", [TraversalLimits(max_depth=1), TraversalLimits(max_nodes=3)])
async def test_tag_query_beyond_a_traversal_limit_raises(
    variant: ServiceVariant, limits: TraversalLimits
) -> None:
    tags = variant.tags(FAMILY, limits=limits)

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
def test_effective_tags_are_the_union_over_all_ancestors_in_any_parent_order(
    drawn: list[tuple[list[int], list[str]]], random: Random
) -> None:
    nodes = {i: (tuple(tags), tuple(parents)) for i, (parents, tags) in enumerate(drawn)}
    shuffled = {
        i: (tags, tuple(random.sample(parents, len(parents))))
        for i, (tags, parents) in nodes.items()
    }
    plain, mixed = InMemoryHierarchy[int](), InMemoryHierarchy[int]()
    for source, records in ((plain, nodes), (mixed, shuffled)):
        for node, (tags, parents) in records.items():
            source.node(node, parents, tags=tags)

    for node in nodes:
        above = {node}
        while grown := {parent for at in above for parent in nodes[at][1]} - above:
            above |= grown
        union = {tag for at in above for tag in nodes[at][0]}

        found, found_in_mixed = (
            TagInheritanceService(source).effective_tags(node) for source in (plain, mixed)
        )
        assert set(found) == union == set(found_in_mixed)
        assert len(found) == len(union)
