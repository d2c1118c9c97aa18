"""``python -m block_hierarchy``: build a handbook of blocks and move some of them."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid5

from rich.console import Console
from rich.table import Table

from cqrs_ddd_core import Mediator
from cqrs_ddd_core.domain.services import ACL, Grant
from cqrs_ddd_core.primitives.exceptions import DomainError

from .application import BlockView, CreateBlock, DescribeBlocks, MoveBlock
from .composition import compose
from .domain import BlockMoved

HANDBOOK = UUID("7c0e5a52-9f0b-4c1c-8a35-2f1d3f6f0b11")
ANN, BOB, EVE = (Grant(name, "read") for name in ("ann", "bob", "eve"))


def block_id(title: str) -> UUID:
    return uuid5(HANDBOOK, title)


def creating(
    title: str, *parents: str, tags: tuple[str, ...] = (), acl: ACL | None = None
) -> CreateBlock:
    return CreateBlock(
        block_id=block_id(title),
        title=title,
        parent_block_ids=tuple(map(block_id, parents)),
        tags=tags,
        acl=acl,
    )


BLOCKS = (
    creating("handbook", tags=("internal",), acl=ACL.allowing(ANN, BOB, EVE)),
    creating("travel", "handbook", tags=("travel",)),
    creating("salaries", "handbook", tags=("money",), acl=ACL.allowing(ANN)),
    creating("expenses", "travel", tags=("form",)),
    creating("receipts", "expenses", acl=ACL.allowing(BOB, EVE)),
)
MOVES = (
    ("expenses", "travel", "salaries"),
    ("travel", "receipts"),
    ("receipts", "salaries"),
    ("receipts", "travel"),
    ("expenses", "travel"),
)


async def tell(mediator: Mediator, console: Console) -> None:
    for command in BLOCKS:
        await mediator.send(command)
    console.print(table("Before", (await mediator.query(DescribeBlocks())).result))
    for title, *parents in MOVES:
        outcome = await moved(mediator, title, parents)
        console.print(f"{title} under {' and '.join(parents)}: {outcome}")
    console.print(table("After", (await mediator.query(DescribeBlocks())).result))


async def moved(mediator: Mediator, title: str, parents: list[str]) -> str:
    command = MoveBlock(block_id=block_id(title), parent_block_ids=tuple(map(block_id, parents)))
    try:
        response = await mediator.send(command)
    except DomainError as error:
        return f"refused, {type(error).__name__}"
    (event,) = (event for event in response.events if isinstance(event, BlockMoved))
    return f"gained {_named(event.gained)}, lost {_named(event.lost)}"


def table(title: str, views: tuple[BlockView, ...]) -> Table:
    found = Table("block", "depth", "tags", "access", title=title)
    for view in views:
        grants = tuple(sorted(view.access.grants or (), key=str))
        found.add_row(view.title, str(view.depth), ", ".join(view.tags), _named(grants))
    return found


def _named(grants: tuple[Grant, ...]) -> str:
    return ", ".join(map(str, grants)) or "nothing"


def main() -> None:
    asyncio.run(tell(compose(), Console()))


if __name__ == "__main__":
    main()
