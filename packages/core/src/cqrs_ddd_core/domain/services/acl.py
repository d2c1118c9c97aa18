"""Access lists of nodes.

The meet of two lists has only the grants that both have. It does not depend on order or repetition,
so one pass over all ancestors of a node yields its access.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Grant:
    """Permission for a principal.

    Attributes:
        principal: id of a user, a group or a service.
        permission: name of the permitted action.
    """

    principal: str
    permission: str

    def __str__(self) -> str:
        return f"{self.principal}:{self.permission}"


@runtime_checkable
class IGrantMatcher(Protocol):
    """Rule that decides which requests an entry of a list covers, for example by wildcards."""

    @abstractmethod
    def matches(self, grant: Grant, principal: str, permission: str) -> bool:
        """Return whether the entry covers this permission of this principal."""


class ExactMatcher(IGrantMatcher):
    """Rule that an entry covers only its own principal and permission."""

    def matches(self, grant: Grant, principal: str, permission: str) -> bool:
        """Return whether the entry has exactly this principal and permission."""
        return grant.principal == principal and grant.permission == permission


@dataclass(frozen=True)
class ACL:
    """Access list of a node; a denial always wins.

    Attributes:
        allow: grants of the list; None restricts nothing.
        deny: grants that are denied even if ``allow`` has them.
    """

    allow: frozenset[Grant] | None = None
    deny: frozenset[Grant] = frozenset()

    @classmethod
    def from_grants(cls, *grants: Grant) -> ACL:
        """Create a list that allows these grants only."""
        return cls(frozenset(grants))

    @classmethod
    def nobody(cls) -> ACL:
        """Create a list that grants nothing on the node and on the nodes below it."""
        return cls(frozenset())

    @classmethod
    def unrestricted(cls) -> ACL:
        """Create a list that restricts nothing."""
        return cls()

    @property
    def grants(self) -> frozenset[Grant] | None:
        """Grants that are allowed and not denied; None is every grant except ``deny``."""
        return None if self.allow is None else self.allow - self.deny

    @property
    def is_nobody(self) -> bool:
        """Return whether the list grants nothing."""
        return self.grants == frozenset()

    def meet(self, other: ACL) -> ACL:
        """Return a list with the grants that both lists have; groups are not expanded."""
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
        """Return whether an entry allows one of the principals the action, and none denies it."""

        def covers(grant: Grant) -> bool:
            return any(matcher.matches(grant, principal, permission) for principal in principals)

        is_covered = self.allow is None or any(map(covers, self.allow))
        return is_covered and not any(map(covers, self.deny))
