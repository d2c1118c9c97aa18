from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryHierarchy
from cqrs_ddd_core.domain.services import (
    ACL,
    AccessChange,
    ACLInheritanceService,
    AsyncACLInheritanceService,
    EffectiveACL,
    ExactMatcher,
    Grant,
    TraversalLimits,
)
from cqrs_ddd_core.domain.services.acl_inheritance import Walk
from cqrs_ddd_core.primitives.exceptions import (
    ACLWideningError,
    HierarchyLimitExceededError,
    InvalidOperationError,
    InvariantViolationError,
    NodeNotFoundError,
)
from cqrs_ddd_core.primitives.result import Failure, Success
from tests.core.service_variants import CountingReader, ServiceVariant, each_variant

ANN, BOB, CAT, DAN = (Grant(name, "read") for name in ("ann", "bob", "cat", "dan"))
ALL = frozenset({ANN, BOB, CAT, DAN})


def tree() -> InMemoryHierarchy[str]:
    return InMemoryHierarchy()


def only(*grants: Grant) -> ACL:
    return ACL.from_grants(*grants)


def denying(*grants: Grant) -> ACL:
    return ACL(deny=frozenset(grants))


def line(*lists: ACL | None) -> InMemoryHierarchy[str]:
    """n0 at the top, each the parent of the next."""
    found = tree()
    for i, acl in enumerate(lists):
        found.node(f"n{i}", (f"n{i - 1}",) if i else (), acl=acl)
    return found


def grants(source: InMemoryHierarchy[str], node: str) -> frozenset[Grant] | None:
    return ACLInheritanceService(source).effective_acl(node).acl.grants


@each_variant
@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        pytest.param([only(ANN)], {ANN}, id="own"),
        pytest.param([None, None], set(), id="no-list-anywhere"),
        pytest.param([only(ANN), None], {ANN}, id="inherited"),
        pytest.param([only(ANN), None, None], {ANN}, id="inherited-through-a-node-without"),
        pytest.param([only(ANN, BOB), only(ANN)], {ANN}, id="narrowed"),
        pytest.param([only(ANN), only(ANN, BOB)], {ANN}, id="wider-is-cut"),
        pytest.param([only(ANN), only(BOB)], set(), id="disjoint"),
        pytest.param([ACL.nobody(), None, only(ANN)], set(), id="nobody-at-the-root"),
        pytest.param([only(ANN), ACL.nobody(), only(ANN)], set(), id="nobody-absorbs-below"),
        pytest.param([ACL(ALL, frozenset({BOB})), only(ANN, BOB)], {ANN}, id="denied-above-wins"),
        pytest.param([only(ANN, BOB), denying(BOB)], {ANN}, id="denied-below"),
        pytest.param([only(ANN), denying(DAN)], {ANN}, id="denied-but-never-allowed"),
        pytest.param([denying(BOB), only(ANN, BOB)], {ANN}, id="denied-without-allow"),
        pytest.param([denying(BOB), None], set(), id="a-denial-alone-opens-nothing"),
        pytest.param([ACL.unrestricted(), only(ANN)], {ANN}, id="unrestricted-is-neutral"),
    ],
)
async def test_a_node_grants_what_all_lists_above_it_grant(
    variant: ServiceVariant, lists: list[ACL | None], expected: set[Grant]
) -> None:
    source, last = line(*lists), f"n{len(lists) - 1}"
    acls = variant.acls(source)

    effective = await acls.effective_acl(last)

    assert effective.acl.grants == frozenset(expected)
    allowed = {grant for grant in ALL if await acls.is_allowed(last, [grant.principal], "read")}
    assert allowed == expected


@each_variant
async def test_access_under_two_parents_is_the_intersection_in_any_order(
    variant: ServiceVariant,
) -> None:
    source = (
        tree()
        .node("l", acl=only(ANN, BOB))
        .node("r", acl=only(BOB, CAT))
        .node("free")
        .node("closed", acl=ACL.nobody())
        .node("lr", ("l", "r"))
        .node("rl", ("r", "l"))
        .node("l and free", ("l", "free"))
        .node("l and closed", ("l", "closed"))
    )
    acls = variant.acls(source)

    for node, expected in {
        "lr": {BOB},
        "rl": {BOB},
        "l and free": {ANN, BOB},
        "l and closed": set(),
    }.items():
        assert (await acls.effective_acl(node)).acl.grants == frozenset(expected)


def test_a_shared_ancestor_counts_once() -> None:
    source = (
        tree()
        .node("top", acl=only(ANN, BOB))
        .node("l", ("top",))
        .node("r", ("top",))
        .node("me", ("l", "r"), acl=only(ANN))
    )

    assert ACLInheritanceService(source).effective_acl("me") == EffectiveACL(
        only(ANN), sources=("me", "top"), restricted=True
    )


@each_variant
async def test_without_any_allow_list_the_default_applies(variant: ServiceVariant) -> None:
    source = line(None, denying(BOB), None)

    secure, open_ = variant.acls(source), variant.acls(source, default=ACL.unrestricted())

    assert await secure.effective_acl("n0") == EffectiveACL(ACL.nobody(), (), restricted=False)
    assert (await secure.effective_acl("n2")).acl.is_nobody
    assert (await open_.effective_acl("n2")).acl == denying(BOB)
    assert await open_.is_allowed("n2", ["ann"], "read")
    assert not await open_.is_allowed("n2", ["bob"], "read")
    assert not await secure.is_allowed("n0", ["ann"], "read")
    # The default does not widen where a list restricts.
    assert not await variant.acls(line(only(ANN)), default=ACL.unrestricted()).is_allowed(
        "n0", ["bob"], "read"
    )


@each_variant
@pytest.mark.parametrize("node", ["gone", "orphan", "below"])
async def test_missing_node_or_ancestor_grants_nothing(variant: ServiceVariant, node: str) -> None:
    source = (
        tree()
        .node("top", acl=only(ANN))
        .node("orphan", ("top", "gone"), acl=only(ANN))
        .node("below", ("orphan",))
    )
    acls, denying_acls = variant.acls(source), variant.acls(source, on_missing="deny")

    with pytest.raises(
        NodeNotFoundError, match="no node gone, so its access list is unknown"
    ) as caught:
        await acls.effective_acl(node)
    assert caught.value.node_id == "gone"
    with pytest.raises(NodeNotFoundError):
        await acls.is_allowed(node, ["ann"], "read")

    assert (await denying_acls.effective_acl(node)).acl.is_nobody
    assert not await denying_acls.is_allowed(node, ["ann"], "read")


def test_parent_id_that_is_none_hides_no_ancestor() -> None:
    class Rows:
        """Reader that names the missing parent of a row, as a nullable column does."""

        def get_acl_and_parents(
            self, node_id: str | None
        ) -> tuple[ACL | None, tuple[str | None, ...]] | None:
            rows = {"me": (None, ("strict", None)), "strict": (ACL.nobody(), ())}
            return rows.get(node_id or "")

    acls = ACLInheritanceService[str | None](Rows(), default=ACL.unrestricted())
    denying_acls = ACLInheritanceService[str | None](
        Rows(), default=ACL.unrestricted(), on_missing="deny"
    )

    with pytest.raises(NodeNotFoundError, match="no node None"):
        acls.effective_acl("me")
    assert denying_acls.effective_acl("me").acl.is_nobody


@each_variant
async def test_access_on_a_stored_cycle_is_answered(variant: ServiceVariant) -> None:
    source = (
        tree()
        .node("a", ("c", "a"), acl=only(ANN, BOB))
        .node("b", ("a",), acl=only(ANN, CAT))
        .node("c", ("b",))
    )
    acls = variant.acls(source)

    for node in "abc":
        assert (await acls.effective_acl(node)).acl.grants == frozenset({ANN})
        assert await acls.is_allowed(node, ["ann"], "read")


def test_a_node_that_is_its_own_parent_grants_what_its_list_grants() -> None:
    assert grants(tree().node("me", ("me",), acl=only(ANN)), "me") == frozenset({ANN})


@each_variant
@pytest.mark.parametrize("limits", [TraversalLimits(max_depth=1), TraversalLimits(max_nodes=2)])
async def test_access_is_not_answered_at_a_limit(
    variant: ServiceVariant, limits: TraversalLimits
) -> None:
    acls = variant.acls(line(only(BOB), only(ANN), only(ANN)), limits=limits)

    with pytest.raises(HierarchyLimitExceededError):
        await acls.effective_acl("n2")
    with pytest.raises(HierarchyLimitExceededError):
        await acls.is_allowed("n2", ["ann"], "read")
    assert not await acls.is_allowed("n2", ["bob"], "read")
    assert (await acls.effective_acl("n1")).acl.is_nobody


@each_variant
async def test_access_in_a_long_chain_needs_no_recursion(variant: ServiceVariant) -> None:
    chain = InMemoryHierarchy[int]()
    for i in range(1_100):
        chain.node(i, (i + 1,) if i < 1_099 else (), acl=only(ANN, BOB) if i % 2 else None)

    assert (await variant.acls(chain).effective_acl(0)).acl.grants == frozenset({ANN, BOB})


STAFF_READ = Grant("group:staff", "read")


@each_variant
async def test_group_entry_covers_its_members_although_the_entries_differ(
    variant: ServiceVariant,
) -> None:
    acls = variant.acls(line(only(STAFF_READ), only(ANN)))

    assert (await acls.effective_acl("n1")).acl.is_nobody
    assert await acls.is_allowed("n1", ["ann", "group:staff"], "read")
    assert not await acls.is_allowed("n1", ["bob", "group:staff"], "read")
    assert not await acls.is_allowed("n1", ["ann"], "read")


class Wildcards(ExactMatcher):
    def matches(self, grant: Grant, principal: str, permission: str) -> bool:
        anyone = grant.principal in ("*", principal)
        return anyone and (grant.permission in ("admin", permission))


def test_matcher_decides_which_requests_an_entry_covers() -> None:
    source = line(only(Grant("*", "read")), only(Grant("ann", "admin"), BOB))
    acls = ACLInheritanceService(source, matcher=Wildcards())

    assert acls.is_allowed("n1", ["ann"], "read")
    assert acls.is_allowed("n1", ["bob"], "read")
    assert not acls.is_allowed("n1", ["ann"], "write")
    assert not acls.is_allowed("n1", ["cat"], "read")


def test_denial_of_one_group_of_the_caller_refuses_on_any_level() -> None:
    for lists in ([denying(STAFF_READ), only(ANN)], [only(ANN), denying(STAFF_READ)]):
        acls = ACLInheritanceService(line(*lists))

        assert acls.is_allowed("n1", ["ann"], "read")
        assert not acls.is_allowed("n1", ["ann", "group:staff"], "read")


def test_text_is_rejected_as_a_collection_of_principals() -> None:
    with pytest.raises(InvalidOperationError, match=r"pass \('ann',\)"):
        ACLInheritanceService(line(only(ANN))).is_allowed("n0", "ann", "read")


def test_first_level_that_refuses_ends_the_reading() -> None:
    reader = CountingReader(line(*[only(ANN)] * 8, only(BOB), only(ANN, BOB)).get_acl_and_parents)
    acls = ACLInheritanceService(reader)

    assert not acls.is_allowed("n9", ["ann"], "read")
    assert reader.round_trips == 2


def test_each_level_is_one_round_trip_and_each_node_is_read_once() -> None:
    source = tree().node("top", acl=only(ANN)).node("l", ("top",)).node("r", ("top",))
    reader = CountingReader(source.node("me", ("l", "r")).get_acl_and_parents)

    ACLInheritanceService(reader).effective_acl("me")

    assert reader.round_trips == 3
    assert set(reader.reads.values()) == {1}


@each_variant
@pytest.mark.parametrize(
    ("proposed", "excess"),
    [
        pytest.param(only(ANN, BOB), (), id="equal"),
        pytest.param(only(ANN), (), id="subset"),
        pytest.param(ACL.nobody(), (), id="nobody"),
        pytest.param(ACL.unrestricted(), (), id="inherits"),
        pytest.param(denying(ANN), (), id="denies"),
        pytest.param(only(ANN, CAT, DAN), (CAT, DAN), id="more"),
        pytest.param(ACL(ALL, frozenset({CAT})), (DAN,), id="more-but-denied-by-itself"),
        pytest.param(only(ANN, CAT), (CAT,), id="denied-above"),
    ],
)
async def test_list_may_only_narrow_the_access_above(
    variant: ServiceVariant, proposed: ACL, excess: tuple[Grant, ...]
) -> None:
    source = line(ACL(frozenset({ANN, BOB, CAT}), frozenset({CAT})), only(DAN))
    acls = variant.acls(source)

    verdicts = [
        await acls.validate_narrowing("n1", proposed),
        await acls.validate_narrowing("new", proposed, ("n0",)),
    ]

    for verdict in verdicts:
        if excess:
            assert isinstance(verdict, Failure)
            assert verdict.code == "ACL_WIDENING"
            assert (verdict.details or {})["excess"] == excess
        else:
            assert verdict == Success(proposed)


def test_a_denial_above_is_a_bound_also_without_an_allow_list() -> None:
    verdict = ACLInheritanceService(line(denying(BOB))).validate_narrowing(
        "new", only(ANN, BOB), ("n0",)
    )

    assert isinstance(verdict, Failure)
    assert (verdict.details or {})["excess"] == (BOB,)


def test_no_grant_is_in_excess_if_no_ancestor_restricts() -> None:
    acls = ACLInheritanceService(line(None, None))

    assert acls.validate_narrowing("n0", only(ANN)) == Success(only(ANN))
    assert acls.validate_narrowing("n1", only(ANN)) == Success(only(ANN))
    assert acls.validate_narrowing("new", only(ANN), ()) == Success(only(ANN))


@each_variant
async def test_ensure_narrowing_raises_an_error_for_a_wider_list(variant: ServiceVariant) -> None:
    acls = variant.acls(line(only(ANN), None))

    with pytest.raises(ACLWideningError, match="n1 grants bob:read, which its") as caught:
        await acls.ensure_narrowing("n1", only(ANN, BOB))

    assert (caught.value.node_id, caught.value.excess) == ("n1", (BOB,))
    assert isinstance(caught.value, InvariantViolationError)
    await acls.ensure_narrowing("n1", only(ANN))


def test_narrowing_of_a_missing_node_or_under_a_missing_parent_is_refused() -> None:
    source = line(only(ANN))
    acls = ACLInheritanceService(source)

    with pytest.raises(NodeNotFoundError):
        acls.validate_narrowing("new", only(ANN))
    with pytest.raises(NodeNotFoundError):
        acls.validate_narrowing("new", only(ANN), ("n0", "gone"))
    denying_acls = ACLInheritanceService(source, on_missing="deny")
    assert isinstance(denying_acls.validate_narrowing("new", only(ANN), ("gone",)), Failure)


@each_variant
async def test_comparison_of_a_move_lists_gained_and_lost_access(variant: ServiceVariant) -> None:
    source = (
        tree()
        .node("here", acl=only(ANN, BOB))
        .node("there", acl=only(BOB, CAT))
        .node("far", acl=only(DAN))
        .node("me", ("here",), acl=only(ANN, BOB, CAT))
        .node("both", ("here", "there"))
    )
    acls = variant.acls(source)

    change = await acls.compare_move("me", ("there",))
    assert change == AccessChange(gained=only(CAT), lost=only(ANN), becomes_empty=False)
    # To take a parent away widens.
    change = await acls.compare_move("both", ("there",))
    assert change == AccessChange(gained=only(CAT), lost=only(), becomes_empty=False)
    change = await acls.compare_move("me", ("far",))
    assert change == AccessChange(gained=only(), lost=only(ANN, BOB), becomes_empty=True)
    change = await acls.compare_move("both", ())
    assert (change.lost, change.becomes_empty) == (only(BOB), True)
    with pytest.raises(NodeNotFoundError):
        await acls.compare_move("me", ("gone",))
    with pytest.raises(NodeNotFoundError):
        await acls.compare_move("gone", ("here",))


def test_move_to_unrestricted_parents_gains_all_but_the_former_grants() -> None:
    source = line(ACL(frozenset({ANN, BOB})), None)
    acls = ACLInheritanceService(source, default=ACL.unrestricted())

    change = acls.compare_move("n1", ())

    assert change.gained == denying(ANN, BOB)
    assert change.lost.is_nobody


def test_subtracting_a_list_keeps_the_grants_that_it_lacks() -> None:
    assert only(ANN, BOB).subtract(only(BOB, CAT)) == only(ANN)
    assert only(ANN, BOB).subtract(denying(BOB)) == only(BOB)
    assert denying(ANN).subtract(only(BOB)) == denying(ANN, BOB)
    assert denying(ANN).subtract(denying(ANN, BOB)) == only(BOB)
    assert ACL.unrestricted().subtract(ACL.unrestricted()).is_nobody


some_grants = st.frozensets(st.sampled_from(sorted(ALL, key=str)))
some_acl = st.builds(ACL, st.none() | some_grants, some_grants)


@settings(max_examples=30)
@given(some_acl, some_acl, some_acl)
def test_meet_is_associative_commutative_and_idempotent(a: ACL, b: ACL, c: ACL) -> None:
    assert a.meet(b) == b.meet(a)
    assert a.meet(b).meet(c) == a.meet(b.meet(c))
    assert a.meet(a) == a
    assert a.meet(ACL.unrestricted()) == a
    assert a.meet(ACL.nobody()).is_nobody


@settings(max_examples=30)
@given(st.data())
def test_one_pass_over_all_ancestors_is_the_recursive_definition(data: st.DataObject) -> None:
    size = 8
    nodes = {
        i: (
            data.draw(st.none() | some_acl),
            tuple(data.draw(st.lists(st.integers(i + 1, size - 1), max_size=3)))
            if i + 1 < size
            else (),
        )
        for i in range(size)
    }
    source = InMemoryHierarchy[int]()
    for node, (acl, parents) in nodes.items():
        source.node(node, parents, acl=acl)
    acls = ACLInheritanceService(source, default=ACL.unrestricted())

    def granted(node: int) -> frozenset[Grant]:
        acl, parents = nodes[node]
        own = ALL if acl is None else (ALL if acl.allow is None else acl.allow) - acl.deny
        return reduce(frozenset.__and__, map(granted, parents), own)

    for node in nodes:
        found = acls.effective_acl(node).acl
        assert (ALL if found.allow is None else found.allow) - found.deny == granted(node)
        allowed = {grant for grant in ALL if acls.is_allowed(node, [grant.principal], "read")}
        assert allowed == granted(node)


Service = type[AsyncACLInheritanceService[str]]


class SkipsMissing(AsyncACLInheritanceService[str]):
    """Service that takes a missing node for one without a list."""

    def _combine(self, walk: Walk[str]) -> EffectiveACL[str]:
        walk.missing.clear()
        return super()._combine(walk)


class AnswersAtTheLimit(AsyncACLInheritanceService[str]):
    """Service that takes the lists read so far for all."""

    async def effective_acl(self, node_id: str) -> EffectiveACL[str]:
        try:
            return await super().effective_acl(node_id)
        except HierarchyLimitExceededError:
            acl, _ = HIGH.get_acl_and_parents(node_id) or (None, ())
            return EffectiveACL(acl or ACL.nobody(), (node_id,))


class EmptyIsAbsent(AsyncACLInheritanceService[str]):
    """Service that takes a list of nobody for no list."""

    def _combine(self, walk: Walk[str]) -> EffectiveACL[str]:
        for node_id, (acl, parents) in walk.records.items():
            walk.records[node_id] = (acl if acl and acl.allow else None, parents)
        return super()._combine(walk)


HIGH = line(only(BOB), None, only(ANN, BOB))


def _async(source: InMemoryHierarchy[str]) -> Any:
    return ServiceVariant(True, "batch").reader(source, "get_acl_and_parents")


async def _nobody_under_a_missing_ancestor(service: Service) -> None:
    source = tree().node("me", ("gone",), acl=only(ANN))

    effective = await service(_async(source), on_missing="deny").effective_acl("me")
    assert effective.acl.is_nobody


async def _no_answer_at_a_limit(service: Service) -> None:
    limits = TraversalLimits(max_depth=1)

    with pytest.raises(HierarchyLimitExceededError):
        await service(_async(HIGH), limits=limits).effective_acl("n2")


async def _nobody_stays_nobody(service: Service) -> None:
    effective = await service(_async(line(ACL.nobody(), only(ANN)))).effective_acl("n1")

    assert effective.acl.is_nobody


@pytest.mark.parametrize(
    ("naive", "sentence"),
    [
        (SkipsMissing, _nobody_under_a_missing_ancestor),
        (AnswersAtTheLimit, _no_answer_at_a_limit),
        (EmptyIsAbsent, _nobody_stays_nobody),
    ],
)
async def test_tests_of_access_catch_a_naive_service(
    naive: Service, sentence: Callable[[Service], Awaitable[None]]
) -> None:
    await sentence(AsyncACLInheritanceService)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await sentence(naive)
