"""What the access lists of a node and all its ancestors grant together.

A node can only narrow what its ancestors grant, and a second parent can only narrow further. An
answer holds for one reading of the ancestors; keep it no longer than the unit of work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from typing import Generic, Literal, TypeVar

from ...primitives.exceptions import ACLWideningError, NodeNotFoundError
from ...primitives.result import Failure, Result, Success
from .acl import ACL, AccessChange, EffectiveACL, ExactMatcher, IGrantMatcher
from .hierarchy import (
    DEFAULT_LIMITS,
    HierarchyWalk,
    Record,
    Steps,
    TraversalLimits,
    distinct,
    drive,
    drive_async,
    levels,
    levels_async,
)
from .readers import N
from .reading import ACLReader, AsyncACLReader, as_async_batch_reader, as_batch_reader

T = TypeVar("T")
Walk = HierarchyWalk[N, ACL | None]

NOBODY = ACL.nobody()


class _ACLRules(Generic[N]):
    """The questions, as steps for a driver."""

    def __init__(
        self,
        default: ACL,
        on_missing: Literal["raise", "deny"],
        matcher: IGrantMatcher | None,
        limits: TraversalLimits,
    ) -> None:
        self._default = default
        self._on_missing = on_missing
        self._matcher = matcher or ExactMatcher()
        self._limits = limits

    def _effective(self, node_id: N) -> Steps[N, ACL | None, EffectiveACL[N]]:
        walk = yield from self._climbed(node_id)
        return self._judged(walk)

    def _allowed(
        self, node_id: N, principals: Collection[str], permission: str
    ) -> Steps[N, ACL | None, bool]:
        asking = distinct(principals)
        walk: Walk[N] = HierarchyWalk((node_id,), self._limits)
        restricted = False
        while walk.frontier:
            level = yield from walk.step()
            if self._is_cut(walk):
                return False
            for seen_id in level:
                acl = walk.records[seen_id][0]
                if acl is not None:
                    if not acl.permits(asking, permission, self._matcher):
                        return False
                    restricted = restricted or acl.allow is not None
        return restricted or self._default.permits(asking, permission, self._matcher)

    def _validate(
        self, node_id: N, proposed: ACL, parents: Collection[N] | None
    ) -> Steps[N, ACL | None, Result[ACL]]:
        known = None if parents is None else {node_id: (None, distinct(parents))}
        walk = yield from self._climbed(node_id, known)
        above = [acl for seen_id, acl in _lists(walk) if seen_id != node_id]
        bound = NOBODY if walk.missing else _met(above)
        # A list without allow inherits: it grants nothing of its own.
        own = NOBODY if proposed.allow is None else proposed
        excess = sorted(own.beyond(bound).grants or (), key=str)
        if not excess:
            return Success(proposed)
        return Failure(
            "ACL_WIDENING",
            f"the list of {node_id} grants {', '.join(map(str, excess))}, which its ancestors do "
            "not; leave that out, or grant it above first",
            {"node_id": node_id, "excess": tuple(excess)},
        )

    def _ensure(
        self, node_id: N, proposed: ACL, parents: Collection[N] | None
    ) -> Steps[N, ACL | None, None]:
        verdict = yield from self._validate(node_id, proposed, parents)
        if isinstance(verdict, Failure):
            details = verdict.details or {}
            raise ACLWideningError(verdict.message, **details)

    def _compare(
        self, node_id: N, new_parents: Collection[N]
    ) -> Steps[N, ACL | None, AccessChange]:
        now = yield from self._climbed(node_id)
        own = now.records[node_id][0] if node_id in now.records else NOBODY
        known = {**now.records, node_id: (own, distinct(new_parents))}
        then = yield from self._climbed(node_id, known)
        return AccessChange.between(self._judged(now).acl, self._judged(then).acl)

    def _climbed(
        self, node_id: N, known: Mapping[N, Record[ACL | None, N]] | None = None
    ) -> Steps[N, ACL | None, Walk[N]]:
        walk: Walk[N] = HierarchyWalk((node_id,), self._limits, known)
        while walk.frontier:
            yield from walk.step()
            self._is_cut(walk)
        return walk

    def _is_cut(self, walk: Walk[N]) -> bool:
        """Whether a node is missing, whose list might have refused: skipping it would widen."""
        if walk.missing and self._on_missing == "raise":
            raise NodeNotFoundError(
                f"no node {walk.missing[0]}, so nobody knows what it grants; repair the link to "
                'it, or pass on_missing="deny"',
                node_id=walk.missing[0],
            )
        return bool(walk.missing)

    def _judged(self, walk: Walk[N]) -> EffectiveACL[N]:
        if walk.missing:
            return EffectiveACL(NOBODY)
        lists = dict(_lists(walk))
        met = _met(lists.values())
        restricted = met.allow is not None
        return EffectiveACL(
            met if restricted else met.meet(self._default), tuple(lists), restricted
        )


class ACLInheritanceService(_ACLRules[N]):
    """Answers over a sync reader.

    Args:
        default: what an ancestry without any allow list grants.
        on_missing: what to do about a node or an ancestor that does not exist: ``"raise"`` raises
            ``NodeNotFoundError``, ``"deny"`` grants nothing.
        matcher: what an entry covers, for ``is_allowed``.
    """

    def __init__(
        self,
        acl_reader: ACLReader[N],
        *,
        default: ACL = NOBODY,
        on_missing: Literal["raise", "deny"] = "raise",
        matcher: IGrantMatcher | None = None,
        limits: TraversalLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(default, on_missing, matcher, limits)
        self._reader = as_batch_reader(acl_reader)

    def effective_acl(self, node_id: N) -> EffectiveACL[N]:
        """The entries that are left; decide by ``is_allowed`` where there are groups."""
        return self._run(self._effective(node_id))

    def is_allowed(self, node_id: N, principals: Collection[str], permission: str) -> bool:
        """Whether every list on the way up allows it to one of the caller's principals.

        Stops reading at the first level that refuses.
        """
        return self._run(self._allowed(node_id, principals, permission))

    def validate_narrowing(
        self, node_id: N, proposed: ACL, parents: Collection[N] | None = None
    ) -> Result[ACL]:
        """Whether the list grants only what the ancestors grant; give ``parents`` for a new node.

        The failure's code is ``ACL_WIDENING``, its details hold the ``excess`` grants. Where no
        ancestor restricts anything, nothing is in excess.
        """
        return self._run(self._validate(node_id, proposed, parents))

    def ensure_narrowing(
        self, node_id: N, proposed: ACL, parents: Collection[N] | None = None
    ) -> None:
        """As ``validate_narrowing``; raises ``ACLWideningError``."""
        self._run(self._ensure(node_id, proposed, parents))

    def compare_move(self, node_id: N, new_parents: Collection[N]) -> AccessChange:
        """What would change if these were its parents; more access is what to look at."""
        return self._run(self._compare(node_id, new_parents))

    def _run(self, steps: Steps[N, ACL | None, T]) -> T:
        reader = self._reader
        read = levels(reader.get_acl_and_parents_many, reader.ancestry, self._limits)
        return drive(steps, read)


class AsyncACLInheritanceService(_ACLRules[N]):
    """``ACLInheritanceService`` over an async reader."""

    def __init__(
        self,
        acl_reader: AsyncACLReader[N],
        *,
        default: ACL = NOBODY,
        on_missing: Literal["raise", "deny"] = "raise",
        matcher: IGrantMatcher | None = None,
        limits: TraversalLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(default, on_missing, matcher, limits)
        self._reader = as_async_batch_reader(acl_reader)

    async def effective_acl(self, node_id: N) -> EffectiveACL[N]:
        return await self._run(self._effective(node_id))

    async def is_allowed(self, node_id: N, principals: Collection[str], permission: str) -> bool:
        return await self._run(self._allowed(node_id, principals, permission))

    async def validate_narrowing(
        self, node_id: N, proposed: ACL, parents: Collection[N] | None = None
    ) -> Result[ACL]:
        return await self._run(self._validate(node_id, proposed, parents))

    async def ensure_narrowing(
        self, node_id: N, proposed: ACL, parents: Collection[N] | None = None
    ) -> None:
        await self._run(self._ensure(node_id, proposed, parents))

    async def compare_move(self, node_id: N, new_parents: Collection[N]) -> AccessChange:
        return await self._run(self._compare(node_id, new_parents))

    async def _run(self, steps: Steps[N, ACL | None, T]) -> T:
        reader = self._reader
        read = levels_async(reader.get_acl_and_parents_many, reader.ancestry, self._limits)
        return await drive_async(steps, read)


def _lists(walk: Walk[N]) -> Iterable[tuple[N, ACL]]:
    return ((node_id, acl) for node_id, (acl, _) in walk.records.items() if acl is not None)


def _met(lists: Iterable[ACL]) -> ACL:
    return reduce(ACL.meet, lists, ACL.unrestricted())
