"""Operations on large tables read by the intended indexes."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests.faults.filling import fill, find_scans, measure
from tests.faults.sizes import FILLED_ROWS


async def test_operations_scan_no_large_table(engine: AsyncEngine, tables: Tables) -> None:
    findings = await measure(engine, tables, rows=FILLED_ROWS)

    assert not findings.scans, findings


async def test_check_of_scans_finds_a_query_without_an_index(
    engine: AsyncEngine, tables: Tables
) -> None:
    await fill(engine, tables, first=0, last=FILLED_ROWS)
    name = engine.dialect.identifier_preparer.format_table(tables.events)

    async def read() -> None:
        async with engine.connect() as connection:
            await connection.execute(text(f"SELECT * FROM {name} WHERE correlation_id = 'c'"))

    assert await find_scans(engine, tables, read)
