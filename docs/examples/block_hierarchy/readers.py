"""Readers of blocks for the domain services."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from cqrs_ddd_core import IRepository
from cqrs_ddd_core.adapters.hierarchy import (
    RepositoryACLReader,
    RepositoryParentReader,
    RepositoryTagReader,
)
from cqrs_ddd_core.domain.services import ACL, IACLReader, IParentReader, ITagReader

from .domain import Block

BlockParentReader = IParentReader[UUID]
BlockTagReader = ITagReader[UUID]
BlockACLReader = IACLReader[UUID]


class BlockSnapshot(BlockParentReader, BlockTagReader, BlockACLReader):
    """Reader of loaded blocks, for rules over all of them."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = {block.id: block for block in blocks}

    def get_parent_ids(self, node_id: UUID) -> tuple[UUID, ...] | None:
        """Return the parents of a block, None for an unknown block."""
        block = self._blocks.get(node_id)
        return block.parent_block_ids if block else None

    def get_tags_and_parents(
        self, node_id: UUID
    ) -> tuple[tuple[str, ...], tuple[UUID, ...]] | None:
        """Return the own tags and the parents of a block, None for an unknown block."""
        block = self._blocks.get(node_id)
        return (block.tags, block.parent_block_ids) if block else None

    def get_acl_and_parents(self, node_id: UUID) -> tuple[ACL | None, tuple[UUID, ...]] | None:
        """Return the own access list and the parents of a block, None for an unknown block."""
        block = self._blocks.get(node_id)
        return (block.acl, block.parent_block_ids) if block else None


class RepositoryBlockParentReader(RepositoryParentReader[Block, UUID]):
    """Reader of parents in the unit of work of the running command."""

    def __init__(self, repository: IRepository[Block, UUID]) -> None:
        super().__init__(repository, parents=lambda block: block.parent_block_ids)


class RepositoryBlockTagReader(RepositoryTagReader[Block, UUID]):
    """Reader of tags in the unit of work of the running command."""

    def __init__(self, repository: IRepository[Block, UUID]) -> None:
        super().__init__(
            repository,
            tags=lambda block: block.tags,
            parents=lambda block: block.parent_block_ids,
        )


class RepositoryBlockACLReader(RepositoryACLReader[Block, UUID]):
    """Reader of access lists in the unit of work of the running command."""

    def __init__(self, repository: IRepository[Block, UUID]) -> None:
        super().__init__(
            repository,
            acl=lambda block: block.acl,
            parents=lambda block: block.parent_block_ids,
        )
