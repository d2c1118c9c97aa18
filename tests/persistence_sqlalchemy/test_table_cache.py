"""Tests that the cached statements create the same schema as ``create_schema``."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables, create_schema, schema
from tests.persistence_sqlalchemy.table_cache import make_tables

QUERIES = {
    "sqlite": ["SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"],
    "postgresql": [
        "SELECT table_name, column_name, data_type, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = :schema ORDER BY 1, 2",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = :schema ORDER BY 1",
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = CAST(quote_ident(:schema) AS regnamespace) ORDER BY 1, 2",
        "SELECT pg_get_functiondef(oid) FROM pg_proc "
        "WHERE pronamespace = CAST(quote_ident(:schema) AS regnamespace) ORDER BY 1",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = "
        "to_regclass(quote_ident(:schema) || '.cqrs_ddd_events') ORDER BY 1",
    ],
}


async def test_cached_statements_create_the_same_tables_as_create_schema(
    engine: AsyncEngine, tables: Tables
) -> None:
    others = Tables(schema=None if tables.schema is None else f"{tables.schema} again")
    found = []

    for make in (create_schema, make_tables):
        await _clear(engine, others)
        await make(engine, others)
        await schema.check(engine, others)
        found.append(await _catalog(engine, others))
    await _clear(engine, others)

    assert found[0]
    assert found[0] == found[1]


async def _clear(engine: AsyncEngine, tables: Tables) -> None:
    async with engine.begin() as connection:
        if tables.schema is None:
            await connection.run_sync(lambda sync: schema.remove(sync, tables))
        else:
            await connection.execute(text(f'DROP SCHEMA IF EXISTS "{tables.schema}" CASCADE'))


async def _catalog(engine: AsyncEngine, tables: Tables) -> list[tuple[object, ...]]:
    async with engine.connect() as connection:
        return [
            tuple(row)
            for query in QUERIES[engine.dialect.name]
            for row in await connection.execute(
                text(query), {"schema": tables.schema} if tables.schema else {}
            )
        ] + [tuple(row) for row in await connection.execute(tables.versions.select())]
