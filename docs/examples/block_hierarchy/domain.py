"""Blocks and their events."""

from __future__ import annotations

from uuid import UUID

from cqrs_ddd_core import AggregateRoot, DomainEvent
from cqrs_ddd_core.domain.services import ACL, AccessChange, Grant


class BlockCreated(DomainEvent):
    """Event of a new block."""

    title: str
    parent_block_ids: tuple[UUID, ...]
    tags: tuple[str, ...]
    acl: ACL | None


class BlockMoved(DomainEvent):
    """Event of a move, with the grants that the block gained and lost."""

    parent_block_ids: tuple[UUID, ...]
    gained: tuple[Grant, ...]
    lost: tuple[Grant, ...]


class Block(AggregateRoot[UUID]):
    """Block with its own parents, tags and access list; services compute the effective ones."""

    title: str
    parent_block_ids: tuple[UUID, ...] = ()
    tags: tuple[str, ...] = ()
    acl: ACL | None = None

    @classmethod
    def create(
        cls,
        block_id: UUID,
        title: str,
        *,
        parents: tuple[UUID, ...],
        tags: tuple[str, ...],
        acl: ACL | None,
    ) -> Block:
        """Create a block; the caller has checked its parents and access list."""
        block = cls.create_empty(block_id)
        block.add_event(BlockCreated(title=title, parent_block_ids=parents, tags=tags, acl=acl))
        return block

    def move(self, parents: tuple[UUID, ...], change: AccessChange) -> None:
        """Give the block other parents; the caller has checked them and computed the change."""
        self.add_event(
            BlockMoved(
                parent_block_ids=parents,
                gained=_sort_grants(change.gained),
                lost=_sort_grants(change.lost),
            )
        )

    def apply_BlockCreated(self, event: BlockCreated) -> None:
        self.title = event.title
        self.parent_block_ids = event.parent_block_ids
        self.tags, self.acl = event.tags, event.acl

    def apply_BlockMoved(self, event: BlockMoved) -> None:
        self.parent_block_ids = event.parent_block_ids


def _sort_grants(acl: ACL) -> tuple[Grant, ...]:
    return tuple(sorted(acl.grants or (), key=str))
