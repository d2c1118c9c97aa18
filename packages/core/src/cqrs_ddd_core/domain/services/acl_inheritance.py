"""Access that a node and all its ancestors grant together.

A node can only narrow the access that its ancestors grant, and a second parent can only narrow it
further. The result depends on every ancestor, so do not keep it longer than the unit of work.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from typing import Generic, Literal

from ...primitives.exceptions import ACLWideningError, NodeNotFoundError
from ...primitives.result import Failure, Result, Success
from . import hierarchy
from .acl import ACL, ExactMatcher, IGrantMatcher
from .readers import ACLAndParents, IACLReader, IAsyncACLReader, IAsyncBatchReader, IBatchReader, N

__all__ = ["ACLInheritanceService", "AccessChange", "AsyncACLInheritanceService", "EffectiveACL"]

Walk = hierarchy.HierarchyWalk[N, ACLAndParents[N]]
Cache = dict[N, ACLAndParents[N] | None]
OnMissing = Literal["raise", "deny"]

NOBODY = ACL.nobody()


@dataclass(frozen=True)
class EffectiveACL(Generic[N]):
    """Access to a node under all its ancestors.

    Attributes:
        acl: grants that the node and all its ancestors have in common.
        sources: nodes with an access list, nearest first.
        restricted: False if all lists have ``allow=None``, so that the default of the service
            applies.
    """

    acl: ACL
    sources: tuple[N, ...] = ()
    restricted: bool = True


@dataclass(frozen=True)
class AccessChange:
    """Change of the access to a node, and so to the nodes below it, by a move.

    Attributes:
        gained: access that the move adds.
        lost: access that the move removes.
        becomes_empty: True if a principal has access before the move and none has access after it.
    """

    gained: ACL
    lost: ACL
    becomes_empty: bool


class AsyncACLInheritanceService(Generic[N]):
    """Service that computes the access to nodes, over an async reader.

    Args:
        acl_reader: async reader of single nodes or of batches; with ``get_ancestry`` of all
            ancestors.
        default: access that an ancestry without any allow list grants.
        on_missing: ``"raise"`` raises ``NodeNotFoundError`` for a node or an ancestor that does not
            exist, ``"deny"`` grants nothing.
        matcher: decides for ``is_allowed`` which requests an entry covers.
        limits: limits of each walk.
    """

    def __init__(
        self,
        acl_reader: IAsyncACLReader[N] | IAsyncBatchReader[N, ACLAndParents[N]],
        *,
        default: ACL = NOBODY,
        on_missing: OnMissing = "raise",
        matcher: IGrantMatcher | None = None,
        limits: hierarchy.TraversalLimits = hierarchy.DEFAULT_LIMITS,
    ) -> None:
        self._reader = hierarchy.AsyncReader[N, ACLAndParents[N]](
            acl_reader, "get_acl_and_parents", is_async=True
        )
        self._default = default
        self._on_missing = on_missing
        self._matcher = matcher or ExactMatcher()
        self._limits = limits

    async def effective_acl(self, node_id: N) -> EffectiveACL[N]:
        """Return the grants that the lists of the node and all its ancestors have in common.

        Groups are not expanded, so decide about the members of a group by ``is_allowed``.
        """
        return self._combine(await self._climb(node_id, {}))

    async def is_allowed(self, node_id: N, principals: Collection[str], permission: str) -> bool:
        """Return whether every list up to the roots allows the permission to one of the principals.

        ``principals`` are the id of the caller and the ids of its groups. Reading stops at the
        first level that denies the permission.
        """
        caller = hierarchy.deduplicate(principals)
        walk = hierarchy.HierarchyWalk((node_id,), self._reader, self._limits)
        restricted = False
        while level := walk.frontier:
            await walk.step()
            if not self._is_complete(walk):
                return False
            for acl, _ in map(walk.records.__getitem__, level):
                if acl is not None:
                    if not acl.permits(caller, permission, self._matcher):
                        return False
                    restricted = restricted or acl.allow is not None
        return restricted or self._default.permits(caller, permission, self._matcher)

    async def validate_narrowing(
        self, node_id: N, proposed: ACL, parents: Collection[N] | None = None
    ) -> Result[ACL]:
        """Return whether a list grants no more than the ancestors, as a result with the list.

        Pass ``parents`` for a new node.
        The code of the failure is ``ACL_WIDENING``, its details hold the ``excess`` grants. If no
        ancestor restricts anything, there is no excess.
        """
        new: Cache[N] = {} if parents is None else {node_id: (None, hierarchy.deduplicate(parents))}
        walk = await self._climb(node_id, new)
        above = [acl for reached, acl in _collect_acls(walk).items() if reached != node_id]
        bound = NOBODY if walk.missing else _meet_all(above)
        # A list without allow inherits: it grants nothing of its own.
        own = NOBODY if proposed.allow is None else proposed
        excess = sorted(own.subtract(bound).grants or (), key=str)
        if not excess:
            return Success(proposed)
        return Failure(
            "ACL_WIDENING",
            f"the list of {node_id} grants {', '.join(map(str, excess))}, which its ancestors do "
            "not grant; remove these grants, or add them to the ancestors first",
            {"node_id": node_id, "excess": tuple(excess)},
        )

    async def ensure_narrowing(
        self, node_id: N, proposed: ACL, parents: Collection[N] | None = None
    ) -> None:
        """Raise ``ACLWideningError`` if ``validate_narrowing`` fails."""
        verdict = await self.validate_narrowing(node_id, proposed, parents)
        if isinstance(verdict, Failure):
            raise ACLWideningError(verdict.message, **(verdict.details or {}))

    async def compare_move(self, node_id: N, new_parents: Collection[N]) -> AccessChange:
        """Return the access that a move below these parents would add and remove."""
        cache: Cache[N] = {}
        now = await self._climb(node_id, cache)
        own = now.records[node_id][0] if node_id in now.records else NOBODY
        cache[node_id] = (own, hierarchy.deduplicate(new_parents))
        then = await self._climb(node_id, cache)
        before, after = self._combine(now).acl, self._combine(then).acl
        return AccessChange(
            gained=after.subtract(before),
            lost=before.subtract(after),
            becomes_empty=after.is_nobody and not before.is_nobody,
        )

    async def _climb(self, node_id: N, cache: Cache[N]) -> Walk[N]:
        walk = hierarchy.HierarchyWalk((node_id,), self._reader, self._limits, cache)
        await walk.climb()
        self._is_complete(walk)
        return walk

    def _is_complete(self, walk: Walk[N]) -> bool:
        """Return whether no node is missing; skipping a missing list could widen the access."""
        if walk.missing and self._on_missing == "raise":
            raise NodeNotFoundError(
                f"no node {walk.missing[0]}, so its access list is unknown; repair the link to "
                'it, or pass on_missing="deny"',
                node_id=walk.missing[0],
            )
        return not walk.missing

    def _combine(self, walk: Walk[N]) -> EffectiveACL[N]:
        if walk.missing:
            return EffectiveACL(NOBODY)
        acls = _collect_acls(walk)
        met = _meet_all(acls.values())
        restricted = met.allow is not None
        return EffectiveACL(met if restricted else met.meet(self._default), tuple(acls), restricted)


class ACLInheritanceService(hierarchy.SyncService[AsyncACLInheritanceService[N]]):
    """Service that computes the access to nodes, over a sync reader.

    The methods are the methods of ``AsyncACLInheritanceService``, without ``await``.

    Args:
        acl_reader: reader of single nodes or of batches; with ``get_ancestry`` of all ancestors.
        default: access that an ancestry without any allow list grants.
        on_missing: ``"raise"`` raises ``NodeNotFoundError`` for a node or an ancestor that does not
            exist, ``"deny"`` grants nothing.
        matcher: decides for ``is_allowed`` which requests an entry covers.
        limits: limits of each walk.
    """

    def __init__(
        self,
        acl_reader: IACLReader[N] | IBatchReader[N, ACLAndParents[N]],
        *,
        default: ACL = NOBODY,
        on_missing: OnMissing = "raise",
        matcher: IGrantMatcher | None = None,
        limits: hierarchy.TraversalLimits = hierarchy.DEFAULT_LIMITS,
    ) -> None:
        reader = hierarchy.AsyncReader[N, ACLAndParents[N]](
            acl_reader, "get_acl_and_parents", is_async=False
        )
        self._service = AsyncACLInheritanceService(
            reader, default=default, on_missing=on_missing, matcher=matcher, limits=limits
        )

    effective_acl = hierarchy.in_sync(AsyncACLInheritanceService.effective_acl)
    is_allowed = hierarchy.in_sync(AsyncACLInheritanceService.is_allowed)
    validate_narrowing = hierarchy.in_sync(AsyncACLInheritanceService.validate_narrowing)
    ensure_narrowing = hierarchy.in_sync(AsyncACLInheritanceService.ensure_narrowing)
    compare_move = hierarchy.in_sync(AsyncACLInheritanceService.compare_move)


def _collect_acls(walk: Walk[N]) -> dict[N, ACL]:
    return {node_id: acl for node_id, (acl, _) in walk.records.items() if acl is not None}


def _meet_all(acls: Collection[ACL]) -> ACL:
    return reduce(ACL.meet, acls, ACL.unrestricted())
