"""Who may do what with a node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grant:
    """One permission for one principal (a user, a group, a service)."""

    principal: str
    permission: str


@dataclass(frozen=True)
class ACL:
    """The access list of one node; ``allow=None`` restricts nothing, a denial always wins."""

    allow: frozenset[Grant] | None = None
    deny: frozenset[Grant] = frozenset()
