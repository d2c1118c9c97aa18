"""Tests of the Alembic recipe, as it is written."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator
from decimal import Decimal
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, inspect, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    ExactDecimal,
    SQLAlchemyEventStore,
    Tables,
    configure_sqlite,
    schema,
)
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

    def write_script(self) -> str:
        """Return the SQL of ``alembic upgrade heads --sql``."""
        script = StringIO()
        config = Config(self._folder / "alembic.ini", output_buffer=script)
        config.set_main_option("sqlalchemy.url", self.url.replace("%", "%%"))
        config.attributes["cqrs_ddd_tables"] = self.tables
        command.upgrade(config, "heads", sql=True)
        return script.getvalue()

    def write_shop(self, source: str) -> None:
        """Replace the tables of the application."""
        (self._folder / "shop.py").write_text(source)
        # The runs of this process import the module once.
        sys.modules.pop("shop", None)
        importlib.invalidate_caches()

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
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    yield create_project(request, tmp_path)
    sys.modules.pop("shop", None)


def create_project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
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


PARCELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_persistence_sqlalchemy import (
    ArchivableModelMixin, AuditableModelMixin, ExactDecimal, Json, UtcDateTime, VersionMixin,
    unique_unless_archived,
)


class Base(DeclarativeBase):
    pass


class Parcel(VersionMixin, AuditableModelMixin, ArchivableModelMixin, Base):
    __tablename__ = "parcels"
    __table_args__ = (unique_unless_archived("ix_parcels_place", "place"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[str]
    fee = mapped_column(ExactDecimal(12, 2), nullable=False)
    refund = mapped_column(ExactDecimal(9, 3), server_default=sa.text("0"))
    sent_at = mapped_column(UtcDateTime)
    labels = mapped_column(Json)
    notes = mapped_column(sa.JSON)


metadata = Base.metadata
"""


def test_every_column_type_is_migrated_up_and_down_with_nothing_left_to_change(
    project: Project,
) -> None:
    project.write_shop(PARCELS)
    project.run(command.upgrade, "heads")

    revision = project.revise(
        "parcels", head="base", branch_label="shop", version_path=f"{project._folder}/versions"
    )
    project.run(command.upgrade, "heads")
    project.run(command.check)

    assert "ExactDecimal(12, 2)" in revision
    assert project.run_async(lambda engine: insert_and_read(engine, "19.90")) == Decimal("19.90")
    project.run(command.downgrade, "shop@base")
    assert "parcels" not in project.table_names()


def test_column_with_another_scale_is_migrated_with_its_values(project: Project) -> None:
    project.write_shop(PARCELS)
    project.run(command.upgrade, "heads")
    project.revise(
        "parcels", head="base", branch_label="shop", version_path=f"{project._folder}/versions"
    )
    project.run(command.upgrade, "heads")
    fees = ["19.90", "-0.05", "9999999999.99"]
    for fee in fees:
        project.run_async(partial(insert_and_read, fee=fee))

    project.write_shop(PARCELS.replace("ExactDecimal(12, 2)", "ExactDecimal(14, 4)"))
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        project.run(command.check)
    project.revise("scale", head="shop@head")
    project.run(command.upgrade, "heads")
    project.run(command.check)
    assert project.run_async(partial(read_fees, scale=4)) == sorted(map(Decimal, fees))
    project.run_async(partial(insert_and_read, fee="0.0050", scale=4))

    project.run(command.downgrade, "shop@-1")
    project.write_shop(PARCELS)
    # Rounded half away from zero, on both databases.
    expected = sorted([*map(Decimal, fees), Decimal("0.01")])
    assert project.run_async(partial(read_fees, scale=2)) == expected


def test_script_without_a_connection_creates_the_tables_of_the_toolkit(project: Project) -> None:
    toolkit = {table.name for table in project.tables.metadata.sorted_tables}

    script = project.write_script()
    project.run_async(lambda engine: execute_script(engine, script))

    assert project.table_names() == toolkit
    project.run_async(lambda engine: schema.check(engine, project.tables))
    project.run(command.upgrade, "heads")

    async def use(engine: Any) -> int:
        store = SQLAlchemyEventStore(async_sessionmaker(engine), tables=project.tables)
        await store.append(event(new_stream(), 1))
        return len(await store.get_events_after(0))

    assert project.run_async(use) == 1


def test_downgrade_without_a_connection_is_rejected(project: Project) -> None:
    with pytest.raises(ConfigError, match="run alembic downgrade without --sql"):
        project.run(command.downgrade, "cqrs_ddd_1:base", sql=True)


FEES: dict[int, Table] = {
    scale: Table(
        "parcels",
        MetaData(),
        Column("id", Text),
        Column("place", Text),
        Column("version", Integer),
        Column("fee", ExactDecimal(10 + scale, scale)),
    )
    for scale in (2, 4)
}


async def insert_and_read(engine: Any, fee: str, scale: int = 2) -> Decimal:
    table = FEES[scale]
    async with engine.begin() as connection:
        await connection.execute(
            insert(table).values(id=fee, place=fee, version=1, fee=Decimal(fee))
        )
        found: Decimal = await connection.scalar(select(table.c.fee).where(table.c.id == fee))
    return found


async def read_fees(engine: Any, scale: int) -> list[Decimal]:
    async with engine.connect() as connection:
        return sorted((await connection.scalars(select(FEES[scale].c.fee))).all())


async def execute_script(engine: Any, script: str) -> None:
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        await (raw.executescript if engine.dialect.name == "sqlite" else raw.execute)(script)
