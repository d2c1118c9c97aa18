"""Commands and queries of the blocks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from cqrs_ddd_core import Command, CommandHandler, IRepository, Query, QueryHandler
from cqrs_ddd_core.adapters.hierarchy import CachingReader
from cqrs_ddd_core.domain.services import (
    ACL,
    ACLInheritanceService,
    AsyncACLInheritanceService,
    AsyncCycleDetectionService,
    AsyncTagInheritanceService,
    CycleDetectionService,
    TagInheritanceService,
)
from cqrs_ddd_core.ports.locking import ResourceIdentifier
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError, EntityNotFoundError

from .domain import Block
from .readers import (
    BlockACLReader,
    BlockParentReader,
    BlockSnapshot,
    BlockTagReader,
    RepositoryBlockACLReader,
    RepositoryBlockParentReader,
    RepositoryBlockTagReader,
)

IBlockRepository = IRepository[Block, UUID]
TREE = ResourceIdentifier("blocks", "tree")


class CreateBlockCommand(Command[UUID]):
    """Command that creates a block and returns its id."""

    block_id: UUID
    title: str
    parent_block_ids: tuple[UUID, ...] = ()
    tags: tuple[str, ...] = ()
    acl: ACL | None = None


class MoveBlockCommand(Command[UUID]):
    """Command that gives a block other parents and returns its id."""

    block_id: UUID
    parent_block_ids: tuple[UUID, ...]

    def lock_keys(self) -> Collection[ResourceIdentifier]:
        """Return one lock for all moves."""
        # Two moves that are checked concurrently could close a cycle together.
        return (TREE,)


class GetBlockTags(Query[tuple[str, ...]]):
    """Query for the own and inherited tags of a block."""

    block_id: UUID


class DescribeBlocks(Query[tuple["BlockView", ...]]):
    """Query for all blocks, sorted by the number of levels above them."""


@dataclass(frozen=True)
class BlockView:
    """Block with the tags and the access list that result from inheritance."""

    title: str
    depth: int
    tags: tuple[str, ...]
    access: ACL


class CreateBlockHandler(CommandHandler[UUID]):
    """Handler that rejects a cycle, and an access list that is wider than that of a parent."""

    def __init__(self, blocks: IBlockRepository) -> None:
        self._blocks = blocks
        self._cycles = AsyncCycleDetectionService(
            RepositoryBlockParentReader(blocks), on_missing="raise"
        )
        self._access = AsyncACLInheritanceService(RepositoryBlockACLReader(blocks))

    async def handle(self, command: CreateBlockCommand) -> UUID:
        block_id, parents = command.block_id, command.parent_block_ids
        await self._cycles.ensure_acyclic(block_id, parents)
        if command.acl is not None:
            await self._access.ensure_narrowing(block_id, command.acl, parents)
        block = Block.create(
            block_id, command.title, parents=parents, tags=command.tags, acl=command.acl
        )
        return await self._blocks.add(block)


class MoveBlockHandler(CommandHandler[UUID]):
    """Handler that rejects a move that causes a cycle, wider access or no access."""

    def __init__(self, blocks: IBlockRepository) -> None:
        self._blocks = blocks

    async def handle(self, command: MoveBlockCommand) -> UUID:
        block = await self._get_existing(command.block_id)
        parents = command.parent_block_ids
        cycles = AsyncCycleDetectionService(
            RepositoryBlockParentReader(self._blocks), on_missing="raise"
        )
        # Two methods need the same lists, so the reader reads each block once for both.
        access = AsyncACLInheritanceService(CachingReader(RepositoryBlockACLReader(self._blocks)))

        await cycles.ensure_acyclic(block.id, parents)
        if block.acl is not None:
            await access.ensure_narrowing(block.id, block.acl, parents)
        change = await access.compare_move(block.id, parents)
        if change.becomes_empty:
            raise BusinessRuleError(
                f"under its new parents no user could access {block.title}; change its access first"
            )
        block.move(parents, change)
        return await self._blocks.add(block)

    async def _get_existing(self, block_id: UUID) -> Block:
        block = await self._blocks.get(block_id)
        if block is None:
            raise EntityNotFoundError(
                f"there is no block {block_id}; create it first",
                entity_type="Block",
                entity_id=block_id,
            )
        return block


class GetBlockTagsHandler(QueryHandler[tuple[str, ...]]):
    """Handler that reads one block and its ancestors."""

    def __init__(self, blocks: IBlockRepository) -> None:
        self._tags = AsyncTagInheritanceService(RepositoryBlockTagReader(blocks))

    async def handle(self, query: GetBlockTags) -> tuple[str, ...]:
        return await self._tags.effective_tags(query.block_id)


class DescribeBlocksHandler(QueryHandler[tuple[BlockView, ...]]):
    """Handler that reads all blocks once and computes every view in memory."""

    def __init__(self, blocks: IBlockRepository) -> None:
        self._blocks = blocks

    async def handle(self, query: DescribeBlocks) -> tuple[BlockView, ...]:
        blocks = await self._blocks.list_all()
        snapshot = BlockSnapshot(blocks)
        views = [build_view(block, snapshot, snapshot, snapshot) for block in blocks]
        return tuple(sorted(views, key=lambda view: (view.depth, view.title)))


def build_view(
    block: Block, parents: BlockParentReader, tags: BlockTagReader, lists: BlockACLReader
) -> BlockView:
    """Compute the depth, the tags and the access list of a block."""
    return BlockView(
        title=block.title,
        depth=CycleDetectionService(parents).depth_of(block.id, longest=True),
        tags=TagInheritanceService(tags).effective_tags(block.id),
        access=ACLInheritanceService(lists).effective_acl(block.id).acl,
    )
