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


def new_tree() -> InMemoryHierarchy[str]:
    return InMemoryHierarchy()


def allow(*grants: Grant) -> ACL:
    return ACL.from_grants(*grants)


def deny(*grants: Grant) -> ACL:
    return ACL(deny=frozenset(grants))


def build_chain(*lists: ACL | None) -> InMemoryHierarchy[str]:
    """Build a chain with n0 at the top, in which each node is the parent of the next."""
    found = new_tree()
    for i, acl in enumerate(lists):
        found.node(f"n{i}", (f"n{i - 1}",) if i else (), acl=acl)
    return found


def find_grants(source: InMemoryHierarchy[str], node: str) -> frozenset[Grant] | None:
    return ACLInheritanceService(source).effective_acl(node).acl.grants


@each_variant
@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        pytest.param([allow(ANN)], {ANN}, id="own"),
        pytest.param([None, None], set(), id="no-list-anywhere"),
        pytest.param([allow(ANN), None], {ANN}, id="inherited"),
        pytest.param([allow(ANN), None, None], {ANN}, id="inherited-through-a-node-without-a-list"),
        pytest.param([allow(ANN, BOB), allow(ANN)], {ANN}, id="narrowed"),
        pytest.param([allow(ANN), allow(ANN, BOB)], {ANN}, id="wider-list-is-narrowed"),
        pytest.param([allow(ANN), allow(BOB)], set(), id="disjoint"),
        pytest.param([ACL.nobody(), None, allow(ANN)], set(), id="empty-list-at-the-root"),
        pytest.param([allow(ANN), ACL.nobody(), allow(ANN)], set(), id="empty-list-denies-below"),
        pytest.param([ACL(ALL, frozenset({BOB})), allow(ANN, BOB)], {ANN}, id="denied-above-wins"),
        pytest.param([allow(ANN, BOB), deny(BOB)], {ANN}, id="denied-below"),
        pytest.param([allow(ANN), deny(DAN)], {ANN}, id="denied-but-never-allowed"),
        pytest.param([deny(BOB), allow(ANN, BOB)], {ANN}, id="denied-without-allow"),
        pytest.param([deny(BOB), None], set(), id="denial-alone-grants-nothing"),
        pytest.param([ACL.unrestricted(), allow(ANN)], {ANN}, id="unrestricted-is-neutral"),
    ],
)
async def test_node_grants_only_what_all_access_lists_above_it_grant(
    variant: ServiceVariant, lists: list[ACL | None], expected: set[Grant]
) -> None:
    source, last = build_chain(*lists), f"n{len(lists) - 1}"
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
        new_tree()
        .node("l", acl=allow(ANN, BOB))
        .node("r", acl=allow(BOB, CAT))
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


def test_access_list_of_a_shared_ancestor_counts_once() -> None:
    source = (
        new_tree()
        .node("top", acl=allow(ANN, BOB))
        .node("l", ("top",))
        .node("r", ("top",))
        .node("me", ("l", "r"), acl=allow(ANN))
    )

    assert ACLInheritanceService(source).effective_acl("me") == EffectiveACL(
        allow(ANN), sources=("me", "top"), restricted=True
    )


@each_variant
async def test_default_acl_applies_if_no_ancestor_has_an_allow_list(
    variant: ServiceVariant,
) -> None:
    source = build_chain(None, deny(BOB), None)

    secure, open_ = variant.acls(source), variant.acls(source, default=ACL.unrestricted())

    assert await secure.effective_acl("n0") == EffectiveACL(ACL.nobody(), (), restricted=False)
    assert (await secure.effective_acl("n2")).acl.is_nobody
    assert (await open_.effective_acl("n2")).acl == deny(BOB)
    assert await open_.is_allowed("n2", ["ann"], "read")
    assert not await open_.is_allowed("n2", ["bob"], "read")
    assert not await secure.is_allowed("n0", ["ann"], "read")
    # The default does not widen where a list restricts.
    assert not await variant.acls(build_chain(allow(ANN)), default=ACL.unrestricted()).is_allowed(
        "n0", ["bob"], "read"
    )


@each_variant
@pytest.mark.parametrize("node", ["gone", "orphan", "below"])
async def test_missing_node_or_ancestor_grants_no_access(
    variant: ServiceVariant, node: str
) -> None:
    source = (
        new_tree()
        .node("top", acl=allow(ANN))
        .node("orphan", ("top", "gone"), acl=allow(ANN))
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


def test_parent_id_none_counts_as_a_missing_ancestor() -> None:
    class Rows:
        """Reader that returns None for a missing parent, as a nullable column does."""

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
async def test_access_is_decided_despite_a_stored_cycle(variant: ServiceVariant) -> None:
    source = (
        new_tree()
        .node("a", ("c", "a"), acl=allow(ANN, BOB))
        .node("b", ("a",), acl=allow(ANN, CAT))
        .node("c", ("b",))
    )
    acls = variant.acls(source)

    for node in "abc":
        assert (await acls.effective_acl(node)).acl.grants == frozenset({ANN})
        assert await acls.is_allowed(node, ["ann"], "read")


def test_node_that_is_its_own_parent_grants_what_its_access_list_grants() -> None:
    assert find_grants(new_tree().node("me", ("me",), acl=allow(ANN)), "me") == frozenset({ANN})


@each_variant
@pytest.mark.parametrize("limits", [TraversalLimits(max_depth=1), TraversalLimits(max_nodes=2)])
async def test_access_check_beyond_a_traversal_limit_raises(
    variant: ServiceVariant, limits: TraversalLimits
) -> None:
    acls = variant.acls(build_chain(allow(BOB), allow(ANN), allow(ANN)), limits=limits)

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
        chain.node(i, (i + 1,) if i < 1_099 else (), acl=allow(ANN, BOB) if i % 2 else None)

    assert (await variant.acls(chain).effective_acl(0)).acl.grants == frozenset({ANN, BOB})


STAFF_READ = Grant("group:staff", "read")


@each_variant
async def test_group_entry_above_and_member_entry_below_grant_access_to_the_member(
    variant: ServiceVariant,
) -> None:
    acls = variant.acls(build_chain(allow(STAFF_READ), allow(ANN)))

    assert (await acls.effective_acl("n1")).acl.is_nobody
    assert await acls.is_allowed("n1", ["ann", "group:staff"], "read")
    assert not await acls.is_allowed("n1", ["bob", "group:staff"], "read")
    assert not await acls.is_allowed("n1", ["ann"], "read")


class Wildcards(ExactMatcher):
    def matches(self, grant: Grant, principal: str, permission: str) -> bool:
        anyone = grant.principal in ("*", principal)
        return anyone and (grant.permission in ("admin", permission))


def test_acl_matcher_decides_which_requests_an_entry_covers() -> None:
    source = build_chain(allow(Grant("*", "read")), allow(Grant("ann", "admin"), BOB))
    acls = ACLInheritanceService(source, matcher=Wildcards())

    assert acls.is_allowed("n1", ["ann"], "read")
    assert acls.is_allowed("n1", ["bob"], "read")
    assert not acls.is_allowed("n1", ["ann"], "write")
    assert not acls.is_allowed("n1", ["cat"], "read")


def test_denial_of_one_group_of_the_caller_denies_access_on_any_level() -> None:
    for lists in ([deny(STAFF_READ), allow(ANN)], [allow(ANN), deny(STAFF_READ)]):
        acls = ACLInheritanceService(build_chain(*lists))

        assert acls.is_allowed("n1", ["ann"], "read")
        assert not acls.is_allowed("n1", ["ann", "group:staff"], "read")


def test_text_is_rejected_as_a_collection_of_principals() -> None:
    with pytest.raises(InvalidOperationError, match=r"pass \('ann',\)"):
        ACLInheritanceService(build_chain(allow(ANN))).is_allowed("n0", "ann", "read")


def test_access_check_stops_reading_at_the_first_level_that_denies() -> None:
    reader = CountingReader(
        build_chain(*[allow(ANN)] * 8, allow(BOB), allow(ANN, BOB)).get_acl_and_parents
    )
    acls = ACLInheritanceService(reader)

    assert not acls.is_allowed("n9", ["ann"], "read")
    assert reader.round_trips == 2


def test_acl_service_reads_each_level_in_one_round_trip_and_each_node_once() -> None:
    source = new_tree().node("top", acl=allow(ANN)).node("l", ("top",)).node("r", ("top",))
    reader = CountingReader(source.node("me", ("l", "r")).get_acl_and_parents)

    ACLInheritanceService(reader).effective_acl("me")

    assert reader.round_trips == 3
    assert set(reader.reads.values()) == {1}


@each_variant
@pytest.mark.parametrize(
    ("proposed", "excess"),
    [
        pytest.param(allow(ANN, BOB), (), id="equal"),
        pytest.param(allow(ANN), (), id="subset"),
        pytest.param(ACL.nobody(), (), id="empty"),
        pytest.param(ACL.unrestricted(), (), id="inherits"),
        pytest.param(deny(ANN), (), id="denies"),
        pytest.param(allow(ANN, CAT, DAN), (CAT, DAN), id="more"),
        pytest.param(ACL(ALL, frozenset({CAT})), (DAN,), id="more-but-denied-by-itself"),
        pytest.param(allow(ANN, CAT), (CAT,), id="denied-above"),
    ],
)
async def test_access_list_may_only_narrow_the_access_above(
    variant: ServiceVariant, proposed: ACL, excess: tuple[Grant, ...]
) -> None:
    source = build_chain(ACL(frozenset({ANN, BOB, CAT}), frozenset({CAT})), allow(DAN))
    acls = variant.acls(source)

    outcomes = [
        await acls.validate_narrowing("n1", proposed),
        await acls.validate_narrowing("new", proposed, ("n0",)),
    ]

    for outcome in outcomes:
        if excess:
            assert isinstance(outcome, Failure)
            assert outcome.code == "ACL_WIDENING"
            assert (outcome.details or {})["excess"] == excess
        else:
            assert outcome == Success(proposed)


def test_denial_above_limits_an_access_list_even_without_an_allow_list() -> None:
    outcome = ACLInheritanceService(build_chain(deny(BOB))).validate_narrowing(
        "new", allow(ANN, BOB), ("n0",)
    )

    assert isinstance(outcome, Failure)
    assert (outcome.details or {})["excess"] == (BOB,)


def test_access_list_may_grant_anything_if_no_ancestor_restricts_access() -> None:
    acls = ACLInheritanceService(build_chain(None, None))

    assert acls.validate_narrowing("n0", allow(ANN)) == Success(allow(ANN))
    assert acls.validate_narrowing("n1", allow(ANN)) == Success(allow(ANN))
    assert acls.validate_narrowing("new", allow(ANN), ()) == Success(allow(ANN))


@each_variant
async def test_ensure_narrowing_raises_an_error_for_a_wider_list(variant: ServiceVariant) -> None:
    acls = variant.acls(build_chain(allow(ANN), None))

    with pytest.raises(ACLWideningError, match="n1 grants bob:read, which its") as caught:
        await acls.ensure_narrowing("n1", allow(ANN, BOB))

    assert (caught.value.node_id, caught.value.excess) == ("n1", (BOB,))
    assert isinstance(caught.value, InvariantViolationError)
    await acls.ensure_narrowing("n1", allow(ANN))


def test_validate_narrowing_raises_for_a_missing_node_or_parent() -> None:
    source = build_chain(allow(ANN))
    acls = ACLInheritanceService(source)

    with pytest.raises(NodeNotFoundError):
        acls.validate_narrowing("new", allow(ANN))
    with pytest.raises(NodeNotFoundError):
        acls.validate_narrowing("new", allow(ANN), ("n0", "gone"))
    denying_acls = ACLInheritanceService(source, on_missing="deny")
    assert isinstance(denying_acls.validate_narrowing("new", allow(ANN), ("gone",)), Failure)


@each_variant
async def test_comparison_of_a_move_lists_gained_and_lost_access(variant: ServiceVariant) -> None:
    source = (
        new_tree()
        .node("here", acl=allow(ANN, BOB))
        .node("there", acl=allow(BOB, CAT))
        .node("far", acl=allow(DAN))
        .node("me", ("here",), acl=allow(ANN, BOB, CAT))
        .node("both", ("here", "there"))
    )
    acls = variant.acls(source)

    change = await acls.compare_move("me", ("there",))
    assert change == AccessChange(gained=allow(CAT), lost=allow(ANN), becomes_empty=False)
    # The removal of a parent widens the access.
    change = await acls.compare_move("both", ("there",))
    assert change == AccessChange(gained=allow(CAT), lost=allow(), becomes_empty=False)
    change = await acls.compare_move("me", ("far",))
    assert change == AccessChange(gained=allow(), lost=allow(ANN, BOB), becomes_empty=True)
    change = await acls.compare_move("both", ())
    assert (change.lost, change.becomes_empty) == (allow(BOB), True)
    with pytest.raises(NodeNotFoundError):
        await acls.compare_move("me", ("gone",))
    with pytest.raises(NodeNotFoundError):
        await acls.compare_move("gone", ("here",))


def test_move_to_unrestricted_parents_gains_all_but_the_former_grants() -> None:
    source = build_chain(ACL(frozenset({ANN, BOB})), None)
    acls = ACLInheritanceService(source, default=ACL.unrestricted())

    change = acls.compare_move("n1", ())

    assert change.gained == deny(ANN, BOB)
    assert change.lost.is_nobody


def test_subtracting_an_acl_keeps_the_grants_that_are_not_in_it() -> None:
    assert allow(ANN, BOB).subtract(allow(BOB, CAT)) == allow(ANN)
    assert allow(ANN, BOB).subtract(deny(BOB)) == allow(BOB)
    assert deny(ANN).subtract(allow(BOB)) == deny(ANN, BOB)
    assert deny(ANN).subtract(deny(ANN, BOB)) == allow(BOB)
    assert ACL.unrestricted().subtract(ACL.unrestricted()).is_nobody


some_grants = st.frozensets(st.sampled_from(sorted(ALL, key=str)))
some_acl = st.builds(ACL, st.none() | some_grants, some_grants)


@settings(max_examples=30)
@given(some_acl, some_acl, some_acl)
def test_meet_of_acls_is_associative_commutative_and_idempotent(a: ACL, b: ACL, c: ACL) -> None:
    assert a.meet(b) == b.meet(a)
    assert a.meet(b).meet(c) == a.meet(b.meet(c))
    assert a.meet(a) == a
    assert a.meet(ACL.unrestricted()) == a
    assert a.meet(ACL.nobody()).is_nobody


@settings(max_examples=30)
@given(st.data())
def test_effective_acl_equals_its_recursive_definition(data: st.DataObject) -> None:
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

    def find_granted(node: int) -> frozenset[Grant]:
        acl, parents = nodes[node]
        own = ALL if acl is None else (ALL if acl.allow is None else acl.allow) - acl.deny
        return reduce(frozenset.__and__, map(find_granted, parents), own)

    for node in nodes:
        found = acls.effective_acl(node).acl
        assert (ALL if found.allow is None else found.allow) - found.deny == find_granted(node)
        allowed = {grant for grant in ALL if acls.is_allowed(node, [grant.principal], "read")}
        assert allowed == find_granted(node)


Service = type[AsyncACLInheritanceService[str]]


class SkipsMissing(AsyncACLInheritanceService[str]):
    """Wrong variant: treats a missing node as a node without a list."""

    def _combine(self, walk: Walk[str]) -> EffectiveACL[str]:
        walk.missing.clear()
        return super()._combine(walk)


class AnswersAtTheLimit(AsyncACLInheritanceService[str]):
    """Wrong variant: decides by the lists that were read before the limit."""

    async def effective_acl(self, node_id: str) -> EffectiveACL[str]:
        try:
            return await super().effective_acl(node_id)
        except HierarchyLimitExceededError:
            acl, _ = HIGH.get_acl_and_parents(node_id) or (None, ())
            return EffectiveACL(acl or ACL.nobody(), (node_id,))


class EmptyIsAbsent(AsyncACLInheritanceService[str]):
    """Wrong variant: treats an empty list as no list."""

    def _combine(self, walk: Walk[str]) -> EffectiveACL[str]:
        for node_id, (acl, parents) in walk.records.items():
            walk.records[node_id] = (acl if acl and acl.allow else None, parents)
        return super()._combine(walk)


HIGH = build_chain(allow(BOB), None, allow(ANN, BOB))


def _async(source: InMemoryHierarchy[str]) -> Any:
    return ServiceVariant(True, "batch").reader(source, "get_acl_and_parents")


async def _check_missing_ancestor_denies(service: Service) -> None:
    source = new_tree().node("me", ("gone",), acl=allow(ANN))

    effective = await service(_async(source), on_missing="deny").effective_acl("me")
    assert effective.acl.is_nobody


async def _check_limit_raises(service: Service) -> None:
    limits = TraversalLimits(max_depth=1)

    with pytest.raises(HierarchyLimitExceededError):
        await service(_async(HIGH), limits=limits).effective_acl("n2")


async def _check_empty_list_denies(service: Service) -> None:
    effective = await service(_async(build_chain(ACL.nobody(), allow(ANN)))).effective_acl("n1")

    assert effective.acl.is_nobody


@pytest.mark.parametrize(
    ("naive", "check"),
    [
        (SkipsMissing, _check_missing_ancestor_denies),
        (AnswersAtTheLimit, _check_limit_raises),
        (EmptyIsAbsent, _check_empty_list_denies),
    ],
)
async def test_access_check_catches_each_wrong_acl_service(
    naive: Service, check: Callable[[Service], Awaitable[None]]
) -> None:
    await check(AsyncACLInheritanceService)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check(naive)
