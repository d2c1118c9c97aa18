"""The script in the comparison of imports does the same job, or the benchmark ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.benchmarks.databases import Databases
from tests.benchmarks.order_import import (
    GIVEN_FILE,
    Imports,
    Program,
    open_order_system,
    open_script,
)
from tests.order_lines import write_orders


@pytest.fixture
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Imports]:
    file = write_orders(tmp_path / "orders.csv", orders=12, lines=31, unshipped=0.2)
    monkeypatch.setenv(GIVEN_FILE, str(file))
    with Databases() as databases:
        yield Imports(databases)


@asynccontextmanager
async def open_incomplete_script(url: str) -> AsyncIterator[Program]:
    async def project_nothing() -> None: ...

    async with open_script(url) as program:
        yield Program(program.send, project_nothing)


async def test_script_leaves_the_same_rows_as_the_order_system(imports: Imports) -> None:
    await imports.compare("sqlite", open_order_system, open_script)


async def test_incomplete_script_ends_the_benchmark(imports: Imports) -> None:
    with pytest.raises(SystemExit, match="order_summaries has 12 rows and 0"):
        await imports.compare("sqlite", open_order_system, open_incomplete_script)
