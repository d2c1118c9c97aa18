"""Tests of the package without its extra ``advanced``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, json, sys

sys.modules["cqrs_ddd_advanced_core"] = None

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

import cqrs_ddd_persistence_sqlalchemy.advanced as advanced
from cqrs_ddd_core import ConfigError, ILockStrategy
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyBackend,
    SQLAlchemyUnitOfWork,
    configure_sqlite,
    create_schema,
    schema,
)
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES


def get_error(call):
    try:
        call()
    except (ImportError, ConfigError) as error:
        return str(error)


async def create_check_and_remove():
    engine = configure_sqlite(create_async_engine(sys.argv[1]))
    await create_schema(engine)
    await schema.check(engine)
    async with engine.begin() as connection:
        await connection.run_sync(schema.remove)
    await engine.dispose()
    return "done"


report = {
    "tables": list(TABLES.metadata.tables),
    "are all": set(TABLES.metadata.tables.values()) == set(TABLES.core),
    "schema": asyncio.run(create_check_and_remove()),
    "adapter": get_error(lambda: advanced.SQLAlchemySnapshotStore),
    "has nothing": not hasattr(advanced, "Nothing"),
    "part": get_error(lambda: SQLAlchemyBackend(sys.argv[1]).part(ILockStrategy, None)),
    "documents": get_error(
        lambda: SQLAlchemyUnitOfWork(session_factory=async_sessionmaker()).projections
    ),
}
print(json.dumps(report))
"""
ADVICE = 'pip install "cqrs-ddd-persistence-sqlalchemy[advanced]"'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Run the program in a new interpreter without the advanced package; return its report."""
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('without')}/test.db"
    done = subprocess.run([sys.executable, "-c", PROGRAM, url], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_core_metadata_has_no_tables_of_the_advanced_package(report: dict[str, object]) -> None:
    assert report["are all"]
    assert "snapshots" not in str(report["tables"])


def test_schema_is_created_and_removed_without_the_advanced_package(
    report: dict[str, object],
) -> None:
    assert report["schema"] == "done"


def test_advanced_adapters_name_the_install_command_if_not_installed(
    report: dict[str, object],
) -> None:
    assert ADVICE in str(report["adapter"])
    assert report["has nothing"]


def test_unit_of_work_projections_name_the_install_command_if_not_installed(
    report: dict[str, object],
) -> None:
    assert ADVICE in str(report["documents"])


def test_part_of_a_backend_names_the_install_command_if_not_installed(
    report: dict[str, object],
) -> None:
    assert ADVICE in str(report["part"])
