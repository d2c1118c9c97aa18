"""Tests of the block hierarchy: its demo, its lock and its rejected commands."""

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

from block_hierarchy.application import (
    CreateBlockCommand, DescribeBlocks, GetBlockTags, MoveBlockCommand
)
from block_hierarchy.composition import compose
from cqrs_ddd_core.domain.services import ACL, Grant

ANN, BOB = Grant("ann", "read"), Grant("bob", "read")
mediator = compose()

async def create(*parents, title="block", acl=None, tags=()):
    command = CreateBlockCommand(
        block_id=uuid4(), title=title, parent_block_ids=parents, acl=acl, tags=tags
    )
    return (await mediator.send(command)).result

async def move(block_id, *parents):
    return await mediator.send(MoveBlockCommand(block_id=block_id, parent_block_ids=parents))

async def report(work):
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


def _run_work(work: str) -> list[str]:
    return _run("-c", f"{PRELUDE}\n{work}\nasyncio.run(main())").splitlines()


def test_block_hierarchy_demo_prints_the_effect_of_each_move() -> None:
    output = _run("-m", "block_hierarchy")

    assert "expenses under travel and salaries: gained nothing, lost bob:read, eve:read" in output
    assert "travel under receipts: rejected, CycleDetectedError" in output
    assert "receipts under salaries: rejected, ACLWideningError" in output
    assert "expenses under travel: gained bob:read, eve:read, lost nothing" in output


@pytest.mark.parametrize(
    ("guard", "outcome"),
    [("", ["CycleDetectedError", "done"]), ("lock_keys", ["done", "done"])],
    ids=["locked", "not locked"],
)
def test_lock_keeps_two_concurrent_moves_from_closing_a_cycle(
    guard: str, outcome: list[str]
) -> None:
    printed = _run_work(f"""
if {guard!r}:
    setattr(MoveBlockCommand, {guard!r}, lambda self: ())

async def main():
    root = await create()
    a, b = await create(root), await create(root)
    await asyncio.gather(report(move(a, b)), report(move(b, a)))
""")

    assert sorted(line.split()[0] for line in printed) == outcome


def test_rejected_block_commands_store_nothing() -> None:
    printed = _run_work("""
async def main():
    left = await create(acl=ACL.from_grants(ANN))
    right = await create(acl=ACL.from_grants(BOB))
    child = await create(left, title="child")
    await report(create(left, acl=ACL.from_grants(ANN, BOB)))
    await report(create(UUID(int=1)))
    await report(move(child, left, right))
    await report(move(UUID(int=2), left))
    print(len((await mediator.query(DescribeBlocks())).result))
""")

    assert printed[0].startswith("ACLWideningError the list of")
    assert "grants bob:read, which its ancestors do not" in printed[0]
    assert printed[1].startswith("NodeNotFoundError no node 00000000-0000-0000-0000-000000000001")
    assert printed[2].startswith("BusinessRuleError under its new parents no user could access")
    assert printed[3].startswith("EntityNotFoundError there is no block")
    assert printed[4] == "3"


def test_child_blocks_inherit_tags() -> None:
    printed = _run_work("""
async def main():
    top = await create(tags=("a", "b"))
    child = await create(top, tags=("c", "a"))
    print((await mediator.query(GetBlockTags(block_id=child))).result)
""")

    assert printed == ["('c', 'a', 'b')"]
