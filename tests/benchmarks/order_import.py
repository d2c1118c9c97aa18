"""The import of the order system beside a script that was written by hand."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from order_system.composition import Settings, open_system
from order_system.importing import Import, catch_up, drain_outbox, open_rejected_lines
from order_system.order_file import OrderFile
from sqlalchemy.ext.asyncio import create_async_engine

from tests.order_lines import write_orders

from .databases import Databases
from .measuring import Row, Side
from .order_rows import (
    DOCUMENTS,
    OF_THE_APPLICATION,
    OF_THE_TOOLKIT,
    Contents,
    contents,
    differences,
)
from .order_script import OrderScript
from .order_statements import TOOLKIT, OrderStatements
from .persistence import late
from .sales_script import SalesScript
from .summary_script import SummaryScript

ORDERS, LINES = 60, 156
"""As many lines an order as in a file of 830 orders and 2,155 lines."""
ROUNDS = 10
ROUNDS_OF_A_GIVEN_FILE = 3
GIVEN_FILE = "ORDERS"
"""The environment variable that names a file to import instead, in the spelling of the sample."""
AGAINST = "a script on Core: the same rows and transactions"


@dataclass(frozen=True)
class Program:
    """The two phases of an import."""

    send: Callable[[Path], Awaitable[object]]
    tell: Callable[[], Awaitable[object]]


Opened = Callable[[str], AbstractAsyncContextManager[Program]]


@asynccontextmanager
async def order_system(url: str) -> AsyncIterator[Program]:
    """What the program does between opening its database and the report."""
    async with open_system(Settings(database_url=url)) as system:
        with open_rejected_lines(Path("not saved")) as rejected:

            async def send(path: Path) -> None:
                file, importing = OrderFile(path), Import(system, rejected)
                lines = file.count()
                await importing.run(file, lambda done: None)
                if (importing.summary.added, importing.summary.unshipped) != (lines, 0):
                    raise SystemExit(f"{path} has lines that are not taken: {importing.summary}")

            async def tell_all() -> None:
                await drain_outbox(system, lambda done: None)
                await catch_up(system, lambda done: None)

            yield Program(send, tell_all)


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[Program]:
    """On one connection with the settings of the example's."""
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

            async def tell_all() -> None:
                await sales.tell()
                await summaries.catch_up()

            yield Program(OrderScript(connection, sql).send, tell_all)
    finally:
        await engine.dispose()


def rows(databases: Databases) -> list[Row]:
    """Times are those of a line of the file."""
    imports = Imports(databases)
    return [
        imports.row("SQLite: import orders: commands", "sqlite", {"send"}),
        imports.row("SQLite: import orders: read tables", "sqlite", {"tell"}),
        imports.row("SQLite: import orders: both", "sqlite", {"send", "tell"}, 1 / 0.3),
        imports.row("PostgreSQL: import orders: both", "postgresql", {"send", "tell"}),
    ]


class Imports:
    """Of one file, each into empty tables; before any is timed, the two are compared."""

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
            late(lambda program=program: self._side(dialect, program, phases))  # type: ignore[misc]
            for program in (order_system, by_hand)
        )
        rounds = ROUNDS if self._given is None else ROUNDS_OF_A_GIVEN_FILE
        return Row(name, AGAINST, ours, floor, limit, items=self._lines, rounds=rounds)

    @asynccontextmanager
    async def _side(self, dialect: str, program: Opened, phases: set[str]) -> AsyncIterator[Side]:
        if dialect not in self._compared:
            await self.compare(dialect, order_system, by_hand)
            self._compared.add(dialect)

        async def side(times: int) -> float:
            return sum([await self._once(dialect, program, phases) for _ in range(times)])

        yield side

    async def _once(self, dialect: str, program: Opened, phases: set[str]) -> float:
        async with self._empty(dialect, program) as url, program(url) as opened:
            began = time.perf_counter()
            await opened.send(self.file)
            sent = time.perf_counter()
            if "tell" in phases:
                await opened.tell()
            told = time.perf_counter()
        return (sent - began if "send" in phases else 0.0) + (told - sent)

    async def compare(self, dialect: str, *programs: Opened) -> None:
        """Ends the run when two of them do not leave the same rows behind."""
        left: list[Contents] = []
        for program in programs:
            async with self._empty(dialect, program) as url:
                async with program(url) as opened:
                    await opened.send(self.file)
                    await opened.tell()
                left.append(await _contents(url))
        if unlike := differences(*left):
            raise SystemExit("\n  ".join(["the imports differ:", *unlike]))

    @asynccontextmanager
    async def _empty(self, dialect: str, program: Opened) -> AsyncIterator[str]:
        """Tables without rows; on PostgreSQL the script's have no trigger."""
        url = self._databases.url(dialect)
        async with open_system(Settings(database_url=url)):
            pass  # It makes its tables.
        if dialect == "postgresql":
            await _clear(url, "ENABLE" if program is order_system else "DISABLE")
        yield url


async def _contents(url: str) -> Contents:
    engine = create_async_engine(url)
    try:
        return await contents(engine)
    finally:
        await engine.dispose()


async def _clear(url: str, trigger: str) -> None:
    cleared = *OF_THE_TOOLKIT, *OF_THE_APPLICATION, *DOCUMENTS, TOOLKIT.advanced.projections
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
