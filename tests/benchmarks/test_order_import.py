"""What the import is measured beside does the same job, and the run ends if it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.benchmarks.databases import Databases
from tests.benchmarks.order_import import GIVEN_FILE, Imports, Program, by_hand, order_system
from tests.order_lines import write_orders


@pytest.fixture
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Imports]:
    file = write_orders(tmp_path / "orders.csv", orders=12, lines=31, unshipped=0.2)
    monkeypatch.setenv(GIVEN_FILE, str(file))
    with Databases() as databases:
        yield Imports(databases)


@asynccontextmanager
async def forgetful(url: str) -> AsyncIterator[Program]:
    async def forget() -> None: ...

    async with by_hand(url) as program:
        yield Program(program.send, forget)


async def test_the_script_leaves_the_rows_of_the_order_system(imports: Imports) -> None:
    await imports.compare("sqlite", order_system, by_hand)


async def test_a_script_that_does_less_ends_the_run(imports: Imports) -> None:
    with pytest.raises(SystemExit, match="order_summaries has 12 rows and 0"):
        await imports.compare("sqlite", order_system, forgetful)
