"""The block hierarchy as its user meets it, and what its lock is for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRELUDE = """
import asyncio
from uuid import UUID, uuid4

from block_hierarchy.application import CreateBlock, DescribeBlocks, MoveBlock, TagsOf
from block_hierarchy.composition import compose
from cqrs_ddd_core.domain.services import ACL, Grant

ANN, BOB = Grant("ann", "read"), Grant("bob", "read")
mediator = compose()

async def create(*parents, title="block", acl=None, tags=()):
    command = CreateBlock(
        block_id=uuid4(), title=title, parent_block_ids=parents, acl=acl, tags=tags
    )
    return (await mediator.send(command)).result

async def move(block_id, *parents):
    return await mediator.send(MoveBlock(block_id=block_id, parent_block_ids=parents))

async def refused(work):
    try:
        await work
    except Exception as error:
        print(type(error).__name__, error)
    else:
        print("done")
"""


def _run(*arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "docs/examples"), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def _printed(work: str) -> list[str]:
    return _run("-c", f"{PRELUDE}\n{work}\nasyncio.run(main())").splitlines()


def test_it_tells_its_story() -> None:
    told = _run("-m", "block_hierarchy")

    assert "expenses under travel and salaries: gained nothing, lost bob:read, eve:read" in told
    assert "travel under receipts: refused, CycleDetectedError" in told
    assert "receipts under salaries: refused, ACLWideningError" in told
    assert "expenses under travel: gained bob:read, eve:read, lost nothing" in told


@pytest.mark.parametrize(
    ("guard", "outcome"),
    [("", ["CycleDetectedError", "done"]), ("lock_keys", ["done", "done"])],
    ids=["locked", "not locked"],
)
def test_two_moves_at_once_close_no_cycle_thanks_to_the_lock(
    guard: str, outcome: list[str]
) -> None:
    printed = _printed(f"""
if {guard!r}:
    setattr(MoveBlock, {guard!r}, lambda self: ())

async def main():
    root = await create()
    a, b = await create(root), await create(root)
    await asyncio.gather(refused(move(a, b)), refused(move(b, a)))
""")

    assert sorted(line.split()[0] for line in printed) == outcome


def test_what_cannot_be_placed_is_refused_and_nothing_is_stored() -> None:
    printed = _printed("""
async def main():
    left = await create(acl=ACL.allowing(ANN))
    right = await create(acl=ACL.allowing(BOB))
    child = await create(left, title="child")
    await refused(create(left, acl=ACL.allowing(ANN, BOB)))
    await refused(create(UUID(int=1)))
    await refused(move(child, left, right))
    await refused(move(UUID(int=2), left))
    print(len((await mediator.query(DescribeBlocks())).result))
""")

    assert printed[0].startswith("ACLWideningError the list of")
    assert "grants bob:read, which its ancestors do not" in printed[0]
    assert printed[1].startswith("NodeNotFoundError no node 00000000-0000-0000-0000-000000000001")
    assert printed[2].startswith("BusinessRuleError under its new parents nobody could use child")
    assert printed[3].startswith("EntityNotFoundError there is no block")
    assert printed[4] == "3"


def test_tags_are_inherited() -> None:
    printed = _printed("""
async def main():
    top = await create(tags=("a", "b"))
    child = await create(top, tags=("c", "a"))
    print((await mediator.query(TagsOf(block_id=child))).result)
""")

    assert printed == ["('c', 'a', 'b')"]
