"""Tests of the Alembic recipe, as it is written."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, Tables, configure_sqlite, schema
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyProjectionStore
from tests.architecture.packages import ROOT
from tests.persistence_sqlalchemy.conftest import asyncpg_url

RECIPE = ROOT / "docs/examples/alembic_recipe"
OWN = {"orders"}


class Project:
    """Copy of the recipe, on a database of its own."""

    def __init__(self, folder: Path, url: str, tables: Tables) -> None:
        shutil.copytree(RECIPE, folder, dirs_exist_ok=True)
        (folder / "versions").mkdir()
        self.url, self.tables, self._folder = url, tables, folder

    def run(self, call: Callable[..., object], *arguments: object, **options: Any) -> None:
        config = Config(self._folder / "alembic.ini")
        config.set_main_option("sqlalchemy.url", self.url.replace("%", "%%"))
        config.attributes["cqrs_ddd_tables"] = self.tables
        call(config, *arguments, **options)

    def revise(self, message: str, **options: Any) -> str:
        self.run(command.revision, message, autogenerate=True, **options)
        (written,) = (self._folder / "versions").glob(f"*_{message}.py")
        return written.read_text()

    def run_async(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def run() -> Any:
            engine = create_async_engine(self.url)
            if engine.dialect.name == "sqlite":
                configure_sqlite(engine)
            try:
                return await work(engine)
            finally:
                await engine.dispose()

        return asyncio.run(run())

    def table_names(self) -> set[str]:
        async def find_names(engine: Any) -> set[str]:
            async with engine.connect() as connection:
                found = await connection.run_sync(
                    lambda sync: [
                        *inspect(sync).get_table_names(),
                        *inspect(sync).get_table_names(self.tables.schema),
                    ]
                )
            return set(found) - {"alembic_version"}

        answer: set[str] = self.run_async(find_names)
        return answer


@pytest.fixture(params=["sqlite", "postgres"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    if request.param == "sqlite":
        return Project(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/shop.db", Tables())
    url = asyncpg_url(request.getfixturevalue("postgres_url"))
    name = "alembic_recipe"

    async def create_database(engine: Any) -> None:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
            await connection.execute(text(f"CREATE DATABASE {name}"))

    project = Project(tmp_path, url, Tables(schema="toolkit"))
    project.run_async(create_database)
    project.url = f"{url.rpartition('/')[0]}/{name}"
    return project


def test_alembic_branch_of_the_toolkit_coexists_with_the_branch_of_the_user(
    project: Project,
) -> None:
    toolkit = {table.name for table in project.tables.metadata.sorted_tables}

    project.run(command.upgrade, "heads")
    assert project.table_names() == toolkit

    first = project.revise(
        "orders", head="base", branch_label="shop", version_path=f"{project._folder}/versions"
    )
    assert "'orders'" in first
    assert "cqrs_ddd" not in first
    project.run(command.upgrade, "heads")
    assert project.table_names() == toolkit | OWN
    # Alembic proposes no further change, not even of the tables of the toolkit.
    project.run(command.check)

    async def use(engine: Any) -> int:
        await schema.check(engine, project.tables)
        store = SQLAlchemyEventStore(async_sessionmaker(engine), tables=project.tables)
        await store.append(event(new_stream(), 1))
        return len(await store.get_events_after(0))

    assert project.run_async(use) == 1

    project.run(command.downgrade, "cqrs_ddd@base")
    assert project.table_names() == OWN
    with pytest.raises(ConfigError, match="lacks the tables"):
        project.run_async(lambda engine: schema.check(engine, project.tables))
    project.run(command.upgrade, "heads")
    assert project.table_names() == toolkit | OWN


def test_alembic_adopts_tables_that_create_schema_has_created(project: Project) -> None:
    project.run_async(lambda engine: schema.create_schema(engine, project.tables))

    project.run(command.upgrade, "heads")

    project.run_async(lambda engine: schema.check(engine, project.tables))


def test_alembic_branch_of_the_advanced_tables_can_be_removed_and_restored(
    project: Project,
) -> None:
    core = {table.name for table in project.tables.core}
    advanced = {table.name for table in project.tables.advanced.all}
    project.run(command.upgrade, "heads")

    project.run(command.downgrade, "cqrs_ddd_advanced@base")
    assert project.table_names() == core
    with pytest.raises(ConfigError, match="lacks the tables"):
        project.run_async(lambda engine: schema.check(engine, project.tables))

    project.run(command.upgrade, "heads")
    assert project.table_names() == core | advanced
    project.run_async(lambda engine: schema.check(engine, project.tables))


def test_alembic_autogenerate_ignores_tables_of_projections(project: Project) -> None:
    project.run(command.upgrade, "heads")

    async def use(engine: Any) -> None:
        store = SQLAlchemyProjectionStore(async_sessionmaker(engine), tables=project.tables)
        await store.ensure_collection("orders", {"customer": str})

    project.run_async(use)
    assert f"{project.tables.prefix}view_orders" in project.table_names()
    first = project.revise(
        "orders", head="base", branch_label="shop", version_path=f"{project._folder}/versions"
    )
    assert "view" not in first
    project.run(command.upgrade, "heads")
    project.run(command.check)

    project.run(command.downgrade, "cqrs_ddd_advanced@base")
    assert not [name for name in project.table_names() if "view" in name]
    project.run(command.upgrade, "heads")
    project.run_async(use)


def test_advanced_alembic_branch_creates_nothing_until_the_extra_is_installed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = {table.name for table in project.tables.core}
    with monkeypatch.context() as hidden:
        hidden.setattr(schema.installation, "is_advanced_installed", lambda: False)
        project.run(command.upgrade, "heads")
    assert project.table_names() == core

    project.run(command.downgrade, "cqrs_ddd_advanced@base")
    project.run(command.upgrade, "heads")

    project.run_async(lambda engine: schema.check(engine, project.tables))
