"""Run the migrations of the toolkit and of the application."""

import asyncio

import shop
from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.schema import autogenerate

url = context.config.get_main_option("sqlalchemy.url") or ""
# The revisions of the toolkit read the table names from here; Tables() has the default names.
tables = context.config.attributes.setdefault("cqrs_ddd_tables", Tables())


def run(connection: Connection) -> None:
    """Run the migrations on a connection."""
    context.configure(
        connection=connection,
        target_metadata=[shop.metadata, tables.metadata],
        include_schemas=tables.schema is not None,
        include_name=_is_ours,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=autogenerate.render_item,
        process_revision_directives=autogenerate.rescale,
    )
    with context.begin_transaction():
        context.run_migrations()


def write_script() -> None:
    """Write the SQL of the migrations, for ``alembic upgrade --sql``."""
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def _is_ours(name: str | None, kind: str, parents: object) -> bool:
    """Exclude other schemas, and tables that projections create themselves."""
    if kind == "table":
        return name is None or not name.startswith(tables.advanced.view_prefix)
    return kind != "schema" or name in (None, tables.schema)


async def main() -> None:
    """Run the migrations on the database of the configuration."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


if context.is_offline_mode():
    write_script()
else:
    asyncio.run(main())
