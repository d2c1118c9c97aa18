"""The package works where the extra ``advanced`` is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HIDE = "import sys; sys.modules['cqrs_ddd_advanced_core'] = None\n"


def run(code: str) -> str:
    """What a fresh interpreter prints that has no advanced package."""
    done = subprocess.run([sys.executable, "-c", HIDE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_tables_are_not_among_ours() -> None:
    told = run(
        "from cqrs_ddd_persistence_sqlalchemy.models import TABLES\n"
        "print(set(TABLES.metadata.tables.values()) == set(TABLES.core), *TABLES.metadata.tables)"
    )

    assert told.startswith("True")
    assert "snapshots" not in told


def test_the_schema_is_made_checked_and_removed_without_it(tmp_path: Path) -> None:
    told = run(
        "import asyncio\n"
        "from sqlalchemy.ext.asyncio import create_async_engine\n"
        "from cqrs_ddd_persistence_sqlalchemy import configure_sqlite, create_schema, schema\n"
        "async def main():\n"
        f"    url = 'sqlite+aiosqlite:///{tmp_path}/test.db'\n"
        "    engine = configure_sqlite(create_async_engine(url))\n"
        "    await create_schema(engine)\n"
        "    await schema.check(engine)\n"
        "    async with engine.begin() as connection:\n"
        "        await connection.run_sync(schema.remove)\n"
        "    await engine.dispose()\n"
        "asyncio.run(main())\n"
        "print('done')"
    )

    assert told == "done\n"


def test_its_adapters_name_the_command_that_installs_it() -> None:
    told = run(
        "import cqrs_ddd_persistence_sqlalchemy.advanced as advanced\n"
        "try:\n"
        "    advanced.SQLAlchemySnapshotStore\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        "print(hasattr(advanced, 'Nothing'))"
    )

    assert 'pip install "cqrs-ddd-persistence-sqlalchemy[advanced]"' in told
    assert told.endswith("False\n")


def test_a_unit_of_work_names_it_when_it_is_asked_for_documents() -> None:
    told = run(
        "from sqlalchemy.ext.asyncio import async_sessionmaker\n"
        "from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork\n"
        "try:\n"
        "    SQLAlchemyUnitOfWork(session_factory=async_sessionmaker()).projections\n"
        "except ImportError as error:\n"
        "    print(error)"
    )

    assert 'pip install "cqrs-ddd-persistence-sqlalchemy[advanced]"' in told
