"""The package works where the extra ``advanced`` is not installed."""

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
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyUnitOfWork,
    configure_sqlite,
    create_schema,
    schema,
)
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES


def refused(ask):
    try:
        ask()
    except ImportError as error:
        return str(error)


async def make_check_and_remove():
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
    "schema": asyncio.run(make_check_and_remove()),
    "adapter": refused(lambda: advanced.SQLAlchemySnapshotStore),
    "has nothing": not hasattr(advanced, "Nothing"),
    "documents": refused(
        lambda: SQLAlchemyUnitOfWork(session_factory=async_sessionmaker()).projections
    ),
}
print(json.dumps(report))
"""
ADVICE = 'pip install "cqrs-ddd-persistence-sqlalchemy[advanced]"'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What one fresh interpreter tells that has no advanced package."""
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('without')}/test.db"
    done = subprocess.run([sys.executable, "-c", PROGRAM, url], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_its_tables_are_not_among_ours(report: dict[str, object]) -> None:
    assert report["are all"]
    assert "snapshots" not in str(report["tables"])


def test_the_schema_is_made_checked_and_removed_without_it(report: dict[str, object]) -> None:
    assert report["schema"] == "done"


def test_its_adapters_name_the_command_that_installs_it(report: dict[str, object]) -> None:
    assert ADVICE in str(report["adapter"])
    assert report["has nothing"]


def test_a_unit_of_work_names_it_when_it_is_asked_for_documents(report: dict[str, object]) -> None:
    assert ADVICE in str(report["documents"])
