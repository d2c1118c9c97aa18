"""Cache of the statements of ``create_schema``, which speeds up creating tables for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables, create_schema
from cqrs_ddd_persistence_sqlalchemy.schema.advanced_tables import AdvancedTables
from cqrs_ddd_persistence_sqlalchemy.schema.installation import COMPONENT, hash_sequence

_first: dict[str, tuple[Tables, str]] = {}
"""Tables that were created first, and their statements, by the name of the dialect."""


async def make_tables(engine: AsyncEngine, tables: Tables) -> None:
    """Create the tables of an empty database without the ten queries of ``create_schema``."""
    if engine.dialect.name not in _first:
        with _record_statements(engine) as statements:
            await create_schema(engine, tables)
        _first[engine.dialect.name] = tables, ";\n".join(statements)
        return
    first, script = _first[engine.dialect.name]
    if first.schema is not None and tables.schema is not None:
        script = script.replace(first.schema, tables.schema)
        # The advisory locks of the positions have a number that is computed from the sequence.
        before, now = (
            hash_sequence(f'"{each.schema}".{each.events.name}_position_seq')
            for each in (first, tables)
        )
        script = script.replace(str(before << 40), str(now << 40)).replace(str(before), str(now))
    script = f"{script};\n{_versions(engine, tables)}"
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await (driver.execute if tables.schema else driver.executescript)(script)


def _versions(engine: AsyncEngine, tables: Tables) -> str:
    rows = [
        {"component": COMPONENT, "version": Tables.VERSION},
        {"component": AdvancedTables.COMPONENT, "version": AdvancedTables.VERSION},
    ]
    statement = insert(tables.versions).values(rows)
    return str(statement.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True}))


@contextmanager
def _record_statements(engine: AsyncEngine) -> Iterator[list[str]]:
    statements: list[str] = []

    def record(
        connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if statement.split(None, 1)[0] == "CREATE":
            statements.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", record)
