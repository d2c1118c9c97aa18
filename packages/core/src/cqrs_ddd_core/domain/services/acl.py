"""Access lists of nodes.

The meet of two lists grants only what both grant. It does not depend on order or repetition, so one
pass over all ancestors of a node yields its access.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Grant:
    """Permission for a principal: a user, a group, a service."""

    principal: str
    permission: str

    def __str__(self) -> str:
        return f"{self.principal}:{self.permission}"


@runtime_checkable
class IGrantMatcher(Protocol):
    """Rule which requests an entry of a list covers: wildcards, permissions that include others."""

    @abstractmethod
    def matches(self, grant: Grant, principal: str, permission: str) -> bool:
        """Return whether the entry covers this permission of this principal."""


class ExactMatcher(IGrantMatcher):
    """Rule that an entry covers its own principal and permission only."""

    def matches(self, grant: Grant, principal: str, permission: str) -> bool:
        return grant.principal == principal and grant.permission == permission


@dataclass(frozen=True)
class ACL:
    """Access list of a node; ``allow=None`` restricts nothing, a denial always wins."""

    allow: frozenset[Grant] | None = None
    deny: frozenset[Grant] = frozenset()

    @classmethod
    def from_grants(cls, *grants: Grant) -> ACL:
        """Create a list that allows these grants only."""
        return cls(frozenset(grants))

    @classmethod
    def nobody(cls) -> ACL:
        """Create a list that grants nothing, here and below."""
        return cls(frozenset())

    @classmethod
    def unrestricted(cls) -> ACL:
        """Create a list that restricts nothing."""
        return cls()

    @property
    def grants(self) -> frozenset[Grant] | None:
        """Return the grants that are allowed and not denied; None is everything but ``deny``."""
        return None if self.allow is None else self.allow - self.deny

    @property
    def is_nobody(self) -> bool:
        """Return whether the list grants nothing."""
        return self.grants == frozenset()

    def meet(self, other: ACL) -> ACL:
        """Return the grants of both lists; a group does not stand for its members here."""
        if self.allow is None or other.allow is None:
            allow = other.allow if self.allow is None else self.allow
        else:
            allow = self.allow & other.allow
        return ACL(allow, self.deny | other.deny)

    def subtract(self, other: ACL) -> ACL:
        """Return the grants of this list that the other does not have."""
        granted = other.grants
        rest = ACL(allow=other.deny) if granted is None else ACL(deny=granted)
        found = self.meet(rest)
        return found if found.allow is None else ACL(found.grants)

    def permits(self, principals: Collection[str], permission: str, matcher: IGrantMatcher) -> bool:
        """Return whether an entry allows one of the principals and no entry denies one."""

        def covers(grant: Grant) -> bool:
            return any(matcher.matches(grant, principal, permission) for principal in principals)

        is_covered = self.allow is None or any(map(covers, self.allow))
        return is_covered and not any(map(covers, self.deny))
