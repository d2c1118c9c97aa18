"""Composition root: the only module that chooses the adapters."""

from __future__ import annotations

from uuid import UUID

from cqrs_ddd_core import EventStorePersistenceMiddleware, HandlerRegistry, Mediator
from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryLockStrategy,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.middleware import LockingMiddleware

from .application import (
    CreateBlockCommand,
    CreateBlockHandler,
    DescribeBlocks,
    DescribeBlocksHandler,
    GetBlockTags,
    GetBlockTagsHandler,
    IBlockRepository,
    MoveBlockCommand,
    MoveBlockHandler,
)
from .domain import Block


def compose() -> Mediator:
    """Create the mediator with handlers, middlewares and in-memory adapters."""
    blocks: IBlockRepository = InMemoryRepository[Block, UUID](Block)
    event_store = InMemoryEventStore()
    handlers = HandlerRegistry()
    handlers.register_command_handler(CreateBlockCommand, CreateBlockHandler(blocks))
    handlers.register_command_handler(MoveBlockCommand, MoveBlockHandler(blocks))
    handlers.register_query_handler(GetBlockTags, GetBlockTagsHandler(blocks))
    handlers.register_query_handler(DescribeBlocks, DescribeBlocksHandler(blocks))
    return Mediator(
        handlers,
        uow_factory=lambda: InMemoryUnitOfWork(event_store=event_store),
        # The lock is outside the unit of work, so it is released after the commit of the move.
        middlewares=[
            LockingMiddleware(InMemoryLockStrategy()),
            EventStorePersistenceMiddleware(),
        ],
    )
