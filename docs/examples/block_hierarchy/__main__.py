"""Build a handbook of blocks and move some of them: ``python -m block_hierarchy``."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid5

from rich.console import Console
from rich.table import Table

from cqrs_ddd_core import Mediator
from cqrs_ddd_core.domain.services import ACL, Grant
from cqrs_ddd_core.primitives.exceptions import DomainError

from .application import BlockView, CreateBlockCommand, DescribeBlocks, MoveBlockCommand
from .composition import compose
from .domain import BlockMoved

HANDBOOK = UUID("7c0e5a52-9f0b-4c1c-8a35-2f1d3f6f0b11")
ANN, BOB, EVE = (Grant(name, "read") for name in ("ann", "bob", "eve"))


def block_id(title: str) -> UUID:
    """Return the id of a block, which is the same in every run."""
    return uuid5(HANDBOOK, title)


def create_block(
    title: str, *parents: str, tags: tuple[str, ...] = (), acl: ACL | None = None
) -> CreateBlockCommand:
    """Return the command that creates a block under blocks with the given titles."""
    return CreateBlockCommand(
        block_id=block_id(title),
        title=title,
        parent_block_ids=tuple(map(block_id, parents)),
        tags=tags,
        acl=acl,
    )


BLOCKS = (
    create_block("handbook", tags=("internal",), acl=ACL.from_grants(ANN, BOB, EVE)),
    create_block("travel", "handbook", tags=("travel",)),
    create_block("salaries", "handbook", tags=("money",), acl=ACL.from_grants(ANN)),
    create_block("expenses", "travel", tags=("form",)),
    create_block("receipts", "expenses", acl=ACL.from_grants(BOB, EVE)),
)
MOVES = (
    ("expenses", "travel", "salaries"),
    ("travel", "receipts"),
    ("receipts", "salaries"),
    ("receipts", "travel"),
    ("expenses", "travel"),
)


async def run_demo(mediator: Mediator, console: Console) -> None:
    """Create the blocks, try all moves, and print the blocks before and after."""
    for command in BLOCKS:
        await mediator.send(command)
    console.print(build_table("Before", (await mediator.query(DescribeBlocks())).result))
    for title, *parents in MOVES:
        outcome = await move_block(mediator, title, parents)
        console.print(f"{title} under {' and '.join(parents)}: {outcome}")
    console.print(build_table("After", (await mediator.query(DescribeBlocks())).result))


async def move_block(mediator: Mediator, title: str, parents: list[str]) -> str:
    """Move a block and return a text about the outcome."""
    command = MoveBlockCommand(
        block_id=block_id(title), parent_block_ids=tuple(map(block_id, parents))
    )
    try:
        response = await mediator.send(command)
    except DomainError as error:
        return f"rejected, {type(error).__name__}"
    (event,) = (event for event in response.events if isinstance(event, BlockMoved))
    return f"gained {_format_grants(event.gained)}, lost {_format_grants(event.lost)}"


def build_table(title: str, views: tuple[BlockView, ...]) -> Table:
    """Return a table with a row for each block."""
    table = Table("block", "depth", "tags", "access", title=title)
    for view in views:
        grants = tuple(sorted(view.access.grants or (), key=str))
        table.add_row(view.title, str(view.depth), ", ".join(view.tags), _format_grants(grants))
    return table


def _format_grants(grants: tuple[Grant, ...]) -> str:
    return ", ".join(map(str, grants)) or "nothing"


def main() -> None:
    """Run the demo on the in-memory adapters."""
    asyncio.run(run_demo(compose(), Console()))


if __name__ == "__main__":
    main()
