"""Cache of the statements of ``create_schema``, which makes the tables of each test faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables, create_schema
from cqrs_ddd_persistence_sqlalchemy.schema.advanced_tables import AdvancedTables
from cqrs_ddd_persistence_sqlalchemy.schema.installation import COMPONENT, _hash_namespace

_first: dict[str, tuple[Tables, str]] = {}
"""By the name of the database: whose tables were made, and the statements that made them."""


async def make_tables(engine: AsyncEngine, tables: Tables) -> None:
    """For an empty place; ``create_schema`` asks ten times what is there before it makes it."""
    if engine.dialect.name not in _first:
        with _recorded(engine) as statements:
            await create_schema(engine, tables)
        _first[engine.dialect.name] = tables, ";\n".join(statements)
        return
    made, script = _first[engine.dialect.name]
    if made.schema is not None and tables.schema is not None:
        script = script.replace(made.schema, tables.schema)
        # The locks of the positions have a number that is made of the name.
        before, now = (_hash_namespace(each, "positions") for each in (made, tables))
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
def _recorded(engine: AsyncEngine) -> Iterator[list[str]]:
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
