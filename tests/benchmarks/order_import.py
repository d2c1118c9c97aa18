"""Import of the order system compared with a hand-written script."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from order_system.composition import create_system
from order_system.importing import Import, catch_up, drain_outbox, open_rejected_lines
from order_system.order_file import OrderFile
from order_system.settings import Settings
from sqlalchemy.ext.asyncio import create_async_engine

from tests.order_lines import write_orders

from .databases import Databases
from .measuring import Row, Side
from .order_rows import (
    APPLICATION_TABLES,
    DOCUMENTS,
    TOOLKIT_TABLES,
    Contents,
    find_differences,
    read_contents,
)
from .order_script import OrderScript
from .order_statements import TOOLKIT, OrderStatements
from .persistence import open_later
from .sales_script import SalesScript
from .summary_script import SummaryScript

ORDERS, LINES = 60, 156
"""Lines per order as in a file of 830 orders and 2,155 lines."""
ROUNDS = 10
ROUNDS_OF_A_GIVEN_FILE = 3
GIVEN_FILE = "ORDERS"
"""Environment variable with the path of another file to import, in the format of the sample."""
AGAINST = "a script on Core: the same rows and transactions"


@dataclass(frozen=True)
class Program:
    """Two phases of an import: the commands, and the updates of the read tables."""

    send: Callable[[Path], Awaitable[object]]
    project: Callable[[], Awaitable[object]]


ProgramContext = Callable[[str], AbstractAsyncContextManager[Program]]


@asynccontextmanager
async def open_order_system(url: str) -> AsyncIterator[Program]:
    """Open the program, which measures from the opened database to before the report."""
    system = create_system(Settings(database_url=url))
    async with system.app.open(services=False):
        with open_rejected_lines(Path("not saved")) as rejected:

            async def send(path: Path) -> None:
                file, importing = OrderFile(path), Import(system, rejected)
                lines = file.count()
                await importing.run(file, lambda done: None)
                if (importing.summary.added, importing.summary.unshipped) != (lines, 0):
                    raise SystemExit(f"{path} has rejected lines: {importing.summary}")

            async def project_all() -> None:
                await drain_outbox(system, lambda done: None)
                await catch_up(system, lambda done: None)

            yield Program(send, project_all)


@asynccontextmanager
async def open_script(url: str) -> AsyncIterator[Program]:
    """Open the script, on one connection with the settings of the example."""
    is_sqlite = url.startswith("sqlite")
    options = {"connect_args": {"isolation_level": "IMMEDIATE"}} if is_sqlite else {}
    engine = create_async_engine(url, **options)
    try:
        async with engine.connect() as connection:
            if is_sqlite:
                for pragma in ("busy_timeout = 10000", "foreign_keys = ON", "journal_mode = WAL"):
                    await connection.exec_driver_sql(f"PRAGMA {pragma}")
                await connection.commit()
            sql = OrderStatements(connection.dialect.name)
            sales, summaries = SalesScript(connection, sql), SummaryScript(connection, sql)

            async def project_all() -> None:
                await sales.update_read_tables()
                await summaries.catch_up()

            yield Program(OrderScript(connection, sql).send, project_all)
    finally:
        await engine.dispose()


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; times are per line of the file."""
    imports = Imports(databases)
    return [
        imports.row("SQLite: import orders: commands", "sqlite", {"send"}),
        imports.row("SQLite: import orders: read tables", "sqlite", {"project"}),
        imports.row("SQLite: import orders: both", "sqlite", {"send", "project"}, 1 / 0.3),
        imports.row("PostgreSQL: import orders: both", "postgresql", {"send", "project"}),
    ]


class Imports:
    """Imports of one file into empty tables; the results of both programs are compared first."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._compared: set[str] = set()
        given = os.environ.get(GIVEN_FILE)
        self._given = None if given is None else Path(given)
        self._lines = LINES if self._given is None else OrderFile(self._given).count()

    @cached_property
    def file(self) -> Path:
        return self._given or write_orders(
            self._databases.folder / "orders.csv", orders=ORDERS, lines=LINES
        )

    def row(self, name: str, dialect: str, phases: set[str], limit: float | None = None) -> Row:
        ours, floor = (
            open_later(lambda program=program: self._side(dialect, program, phases))  # type: ignore[misc]
            for program in (open_order_system, open_script)
        )
        rounds = ROUNDS if self._given is None else ROUNDS_OF_A_GIVEN_FILE
        return Row(name, AGAINST, ours, floor, limit, items=self._lines, rounds=rounds)

    @asynccontextmanager
    async def _side(
        self, dialect: str, program: ProgramContext, phases: set[str]
    ) -> AsyncIterator[Side]:
        if dialect not in self._compared:
            await self.compare(dialect, open_order_system, open_script)
            self._compared.add(dialect)

        async def side(times: int) -> float:
            return sum([await self._run_once(dialect, program, phases) for _ in range(times)])

        yield side

    async def _run_once(self, dialect: str, program: ProgramContext, phases: set[str]) -> float:
        async with self._open_empty_database(dialect, program) as url, program(url) as opened:
            started = time.perf_counter()
            await opened.send(self.file)
            sent = time.perf_counter()
            if "project" in phases:
                await opened.project()
            projected = time.perf_counter()
        return (sent - started if "send" in phases else 0.0) + (projected - sent)

    async def compare(self, dialect: str, *programs: ProgramContext) -> None:
        """Exit if two programs do not leave the same rows behind."""
        left: list[Contents] = []
        for program in programs:
            async with self._open_empty_database(dialect, program) as url:
                async with program(url) as opened:
                    await opened.send(self.file)
                    await opened.project()
                left.append(await _read_contents(url))
        if unlike := find_differences(*left):
            raise SystemExit("\n  ".join(["the imports differ:", *unlike]))

    @asynccontextmanager
    async def _open_empty_database(
        self, dialect: str, program: ProgramContext
    ) -> AsyncIterator[str]:
        """Create tables without rows; on PostgreSQL the tables of the script have no trigger."""
        url = self._databases.url(dialect)
        async with create_system(Settings(database_url=url)).app.open(services=False):
            pass  # It creates its tables.
        if dialect == "postgresql":
            await _clear(url, "ENABLE" if program is open_order_system else "DISABLE")
        yield url


async def _read_contents(url: str) -> Contents:
    engine = create_async_engine(url)
    try:
        return await read_contents(engine)
    finally:
        await engine.dispose()


async def _clear(url: str, trigger: str) -> None:
    cleared = *TOOLKIT_TABLES, *APPLICATION_TABLES, *DOCUMENTS, TOOLKIT.advanced.projections
    names = ", ".join(table.name for table in cleared)
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
            await connection.exec_driver_sql(
                f"ALTER TABLE {TOOLKIT.events.name} {trigger} TRIGGER "
                f"{TOOLKIT.prefix}register_append"
            )
    finally:
        await engine.dispose()
