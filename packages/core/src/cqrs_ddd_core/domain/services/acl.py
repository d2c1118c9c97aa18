"""Who may do what with a node.

Two access lists meet in what both grant. The order of meeting does not matter and repetition adds
nothing, so one pass over all ancestors of a node gives what it grants.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

N = TypeVar("N", bound=Hashable)


@dataclass(frozen=True)
class Grant:
    """One permission for one principal (a user, a group, a service)."""

    principal: str
    permission: str

    def __str__(self) -> str:
        return f"{self.principal}:{self.permission}"


@runtime_checkable
class IGrantMatcher(Protocol):
    """What an entry of a list covers: groups, wildcards, permissions that include others."""

    @abstractmethod
    def matches(self, grant: Grant, principal: str, permission: str) -> bool: ...


class ExactMatcher(IGrantMatcher):
    """An entry covers its own principal and permission only."""

    def matches(self, grant: Grant, principal: str, permission: str) -> bool:
        return grant.principal == principal and grant.permission == permission


@dataclass(frozen=True)
class ACL:
    """The access list of one node; ``allow=None`` restricts nothing, a denial always wins."""

    allow: frozenset[Grant] | None = None
    deny: frozenset[Grant] = frozenset()

    @classmethod
    def allowing(cls, *grants: Grant) -> ACL:
        return cls(frozenset(grants))

    @classmethod
    def nobody(cls) -> ACL:
        """Nobody may do anything, here and below."""
        return cls(frozenset())

    @classmethod
    def unrestricted(cls) -> ACL:
        """Everybody may do everything."""
        return cls()

    @property
    def grants(self) -> frozenset[Grant] | None:
        """What is allowed and not denied; None for everything but ``deny``."""
        return None if self.allow is None else self.allow - self.deny

    @property
    def is_nobody(self) -> bool:
        return self.grants == frozenset()

    def meet(self, other: ACL) -> ACL:
        """What both grant, entry by entry; a group does not stand for its members here."""
        if self.allow is None or other.allow is None:
            allow = other.allow if self.allow is None else self.allow
        else:
            allow = self.allow & other.allow
        return ACL(allow, self.deny | other.deny)

    def beyond(self, other: ACL) -> ACL:
        """What this one grants and the other does not."""
        granted = other.grants
        rest = ACL(allow=other.deny) if granted is None else ACL(deny=granted)
        found = self.meet(rest)
        return found if found.allow is None else ACL(found.grants)

    def permits(self, principals: Collection[str], permission: str, matcher: IGrantMatcher) -> bool:
        """Whether an entry allows one of the principals, and no entry denies one."""

        def covers(grant: Grant) -> bool:
            return any(matcher.matches(grant, principal, permission) for principal in principals)

        return (self.allow is None or any(map(covers, self.allow))) and not any(
            map(covers, self.deny)
        )


@dataclass(frozen=True)
class EffectiveACL(Generic[N]):
    """What a node grants under all its ancestors.

    ``sources`` are the nodes whose lists took part, nearest first; where none of them has an allow
    list, nothing is ``restricted`` and the default of the service stands in for it.
    """

    acl: ACL
    sources: tuple[N, ...] = ()
    restricted: bool = True


@dataclass(frozen=True)
class AccessChange:
    """What a move does to the access to a node, and so to the nodes below it."""

    gained: ACL
    lost: ACL
    becomes_empty: bool
    """Somebody had access before the move, nobody has after it."""

    @classmethod
    def between(cls, before: ACL, after: ACL) -> AccessChange:
        return cls(
            gained=after.beyond(before),
            lost=before.beyond(after),
            becomes_empty=after.is_nobody and not before.is_nobody,
        )
