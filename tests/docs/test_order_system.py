"""Tests of the order system as a program, on every back end."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from order_system import domain, tables
from order_system.composition import create_system
from order_system.importing import Import, catch_up, drain_outbox, open_rejected_lines
from order_system.order_file import OrderFile, ReadLine, Rejection
from order_system.sales import LATE_AFTER_DAYS, GetSalesReport, ListOrders
from order_system.settings import Settings
from sqlalchemy import Connection

from cqrs_ddd_persistence_sqlalchemy import schema
from tests.databases import new_database
from tests.faults.sizes import FILE_LINES
from tests.order_lines import write_orders
from tests.order_program import Before, CompletionResult, run_program

ROOT = Path(__file__).parents[2]
MAPPING = ROOT / "docs/examples/order_system/online_retail.json"
HEAD = (
    "order_id,customer_id,order_date,shipped_date,ship_city,ship_country,"
    "product_id,product_name,quantity,unit_price,discount"
)
LINE = "1,ANNA,2026-01-02,2026-01-05,Lund,Sweden,P,Tea,2,3.50,0.10"
INVOICES = "InvoiceNo;StockCode;Description;Quantity;InvoiceDate;UnitPrice;CustomerID;Country"

STYLES = ("state", "events")
TIMEOUT = 60.0


@dataclass
class Shop:
    """Program in a folder of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    before: Before | None = None

    def run(self, *arguments: str | Path, **environment: str) -> CompletionResult:
        return run_program(
            self.folder,
            *arguments,
            environment={**self.environment, **environment},
            life=TIMEOUT,
            before=self.before,
        )

    def write(self, *lines: str, name: str = "orders.csv", encoding: str = "utf-8") -> Path:
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
        return path

    def execute(self, statement: str, name: str = "orders.db") -> list[object]:
        """Execute a statement in a SQLite database of the folder."""
        with closing(sqlite3.connect(self.folder / name)) as database, database:
            return database.execute(statement).fetchall()

    def read_rejected_lines(self, name: str = "orders") -> list[str]:
        path = self.folder / f"{name}.rejected.csv"
        return path.read_text().splitlines()[1:] if path.exists() else []


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a shop on SQLite, the default database."""
    return Shop(tmp_path)


@pytest.fixture
def in_memory(tmp_path: Path) -> Shop:
    """Return a shop in memory, for tests that do not depend on the back end."""
    return Shop(tmp_path, {"BACKEND": "memory"})


@pytest.fixture(
    params=[
        ("sqlite", "state"),
        ("postgresql", "events"),
        pytest.param(("sqlite", "events"), marks=pytest.mark.full),
        pytest.param(("postgresql", "state"), marks=pytest.mark.full),
    ],
    ids="-".join,
)
def lasting_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return _shop_on(request, tmp_path)


@pytest.fixture(
    params=[*product(["sqlite", "postgresql", "memory"], ["state"]), ("memory", "events")],
    ids="-".join,
)
def any_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return _shop_on(request, tmp_path)


def _shop_on(request: pytest.FixtureRequest, folder: Path) -> Shop:
    backend, style = request.param
    shop = Shop(folder, {"STYLE": style})
    if backend == "memory":
        shop.environment["BACKEND"] = "memory"
    elif backend == "postgresql":
        shop.environment["DATABASE_URL"] = new_database(request.getfixturevalue("postgres_url"))
    return shop


def _get_error(process: CompletionResult) -> str:
    """Return the single error line with which the program ended."""
    assert process.code == 1, process.stderr
    assert process.stdout == ""
    lines = [line for line in process.stderr.splitlines() if not _is_progress(line)]
    assert len(lines) == 1, process.stderr
    return lines[0]


def _is_progress(line: str) -> bool:
    return not line.strip() or "━" in line or "relaying messages" in line


def test_sample_import_prints_the_expected_figures(any_shop: Shop) -> None:
    process = any_shop.run()

    assert process.code == 0, process.stderr
    assert "25 lines read: 25 accepted, 0 rejected, 0 duplicates" in process.stdout
    assert "12 orders, 25 lines, 5 customers, 4 countries" in process.stdout
    assert "2,851.18" in process.stdout
    assert "Late (over 21 days): 1 orders" in process.stdout
    assert "importing orders.csv" in process.stderr
    assert any_shop.read_rejected_lines() == []


def test_every_backend_and_style_prints_the_same_report(tmp_path: Path, postgres_url: str) -> None:
    shops = [
        Shop(tmp_path, {"STYLE": style, **backend})
        for style in STYLES
        for backend in (
            {},
            {"BACKEND": "memory"},
            {"DATABASE_URL": new_database(postgres_url)},
        )
    ]

    reports = {_report(each.run()) for each in shops}

    assert len(reports) == 1


def test_event_sourced_orders_have_the_same_events_but_no_rows(shop: Shop) -> None:
    shop.run()
    shop.run(STYLE="events")

    rows, events = (
        [shop.execute(statement, name) for name in ("orders.db", "orders.events.db")]
        for statement in (
            "SELECT name FROM sqlite_master WHERE type = 'table'",
            "SELECT aggregate_id, version, event_type, payload FROM cqrs_ddd_events "
            "ORDER BY position",
        )
    )

    assert set(rows[0]) - set(rows[1]) == {("orders",)}
    assert events[0] == events[1]
    assert len(events[0]) == 47


@pytest.mark.full
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "memory"])
async def test_order_list_and_sales_report_add_up_to_the_same_totals(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str, style: tables.Style
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/orders.db"
    if backend == "postgresql":
        url = await asyncio.to_thread(new_database, request.getfixturevalue("postgres_url"))
    stored: Any = {"backend": "memory"} if backend == "memory" else {"database_url": url}
    file = OrderFile(write_orders(tmp_path / "orders.csv", orders=40, lines=104))

    system = create_system(Settings(style=style, **stored))
    async with system.app.open(services=False):
        with open_rejected_lines(tmp_path / "rejected.csv") as rejected:
            await Import(system, rejected).run(file, lambda done: None)
        await drain_outbox(system, lambda done: None)
        await catch_up(system, lambda done: None)
        report = (await system.app.query(GetSalesReport(top=100))).result
        orders = (await system.app.query(ListOrders(limit=100))).result

    total = report.totals
    assert (total.orders, total.lines) == (40, 104)
    assert len(orders) == 40
    for parts in (orders, report.days):
        assert sum(part.lines for part in parts) == total.lines
    assert sum(order.amount for order in orders) == total.revenue
    assert sum(day.revenue for day in report.days) == total.revenue
    late = [order.id for order in orders if (order.days_to_ship or 0) > LATE_AFTER_DAYS]
    assert len(late) == total.late_orders > 0
    assert sorted(late) == sorted(order.id for order in report.late_orders)


@pytest.mark.parametrize(
    "lasting_shop", [("sqlite", "state"), ("postgresql", "events")], indirect=True, ids="-".join
)
def test_rebuild_restores_deleted_documents(lasting_shop: Shop) -> None:
    empty = lasting_shop.run("--rebuild")
    first = lasting_shop.run()
    if "DATABASE_URL" not in lasting_shop.environment:
        for collection in ("order_summaries", "daily_revenue"):
            lasting_shop.execute(f"DELETE FROM cqrs_ddd_view_{collection}")

    rebuilt = lasting_shop.run("--rebuild")

    assert "0 orders, 0 lines" in empty.stdout
    assert rebuilt.stdout.strip() == _report(first).strip()
    for collection in ("order_summaries", "daily_revenue"):
        assert re.search(rf"rebuilding {collection} .*47/47", rebuilt.stderr)
    assert "resumed: 25" in lasting_shop.run().stdout


@pytest.mark.full
@pytest.mark.parametrize(
    "lasting_shop", [("sqlite", "events"), ("postgresql", "state")], indirect=True, ids="-".join
)
def test_import_during_rebuilds_ends_with_the_same_report(lasting_shop: Shop) -> None:
    file = write_orders(lasting_shop.folder / "orders.csv", orders=30, lines=78)
    alone = Shop(lasting_shop.folder).run(file, BACKEND="memory")
    lasting_shop.run("--rebuild", file)

    rebuilds: list[CompletionResult] = []
    with ThreadPoolExecutor(1) as threads:
        importing = threads.submit(lasting_shop.run, file)
        while len(rebuilds) < 2 or not importing.done():
            rebuilds.append(lasting_shop.run("--rebuild", file))

    assert [each.code for each in rebuilds] == [0] * len(rebuilds), rebuilds
    assert _report(importing.result()) == _report(alone)
    assert lasting_shop.run("--report", file).stdout.strip() == _report(alone).strip()


def test_event_without_a_document_is_reported_in_one_line_and_retried(shop: Shop) -> None:
    report = _report(shop.run())
    shop.execute("CREATE TABLE kept AS SELECT payload FROM cqrs_ddd_events WHERE position = 2")
    shop.execute("UPDATE cqrs_ddd_projections SET position = 0 WHERE position IS NOT NULL")
    shop.execute("UPDATE cqrs_ddd_events SET payload = '{}' WHERE position = 2")

    lines = {_get_error(shop.run()) for _ in range(2)}
    shop.execute(
        "UPDATE cqrs_ddd_events SET payload = (SELECT payload FROM kept) WHERE position = 2"
    )

    (line,) = lines
    assert line.startswith("LineAdded at position 2 is a dead letter of order_summaries: ")
    assert _report(shop.run()) == report


@pytest.mark.parametrize(("kept", "requested"), [STYLES, STYLES[::-1]])
def test_order_database_keeps_the_storage_style_of_its_first_run(
    shop: Shop, kept: str, requested: str
) -> None:
    shop.environment["DATABASE_URL"] = "sqlite+aiosqlite:///orders.db"
    file = shop.write(HEAD, LINE)
    shop.run(file, STYLE=kept)
    tables = shop.execute("SELECT name FROM sqlite_master")

    lines = {_get_error(shop.run(file, *words, STYLE=requested)) for words in ((), ("--report",))}

    assert lines == {
        f"the orders of this database are kept as {kept}; set STYLE={kept}, or use another database"
    }
    assert shop.execute("SELECT name FROM sqlite_master") == tables


@pytest.mark.parametrize(
    "lasting_shop", [("sqlite", "state"), ("postgresql", "state")], indirect=True, ids="-".join
)
def test_only_one_of_two_concurrent_first_imports_sets_the_storage_style(
    lasting_shop: Shop,
) -> None:
    ended = _run_both_styles(lasting_shop)

    assert sorted(str(each.code) for each in ended) == ["0", "1"], ended


@pytest.mark.parametrize("lasting_shop", [("postgresql", "state")], indirect=True, ids="-".join)
def test_startup_check_catches_an_order_example_that_admits_both_storage_styles(
    lasting_shop: Shop,
) -> None:
    lasting_shop.before = check_too_early

    ended = _run_both_styles(lasting_shop)

    assert [each.code for each in ended] == [0, 0], ended


def _run_both_styles(shop: Shop) -> list[CompletionResult]:
    shop.environment.setdefault("DATABASE_URL", "sqlite+aiosqlite:///orders.db")
    file = shop.write(HEAD, LINE)
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(shop.run, file, STYLE=style) for style in STYLES]
        return [run.result() for run in runs]


def check_too_early() -> None:
    """Make each program wait until both have checked that there are no tables."""
    check = tables.check

    def install(connection: Connection, style: tables.Style) -> None:
        check(connection, style)
        Path(f"checked.{os.getpid()}").touch()
        while len(list(Path().glob("checked.*"))) < 2:
            time.sleep(0.01)
        schema.install(connection)
        tables.Base.metadata.create_all(connection)

    tables.install = install


def test_composition_root_of_the_order_system_stays_small() -> None:
    source = (ROOT / "docs/examples/order_system/composition.py").read_text(encoding="utf-8")
    imports = [
        each
        for each in ast.walk(ast.parse(source))
        if isinstance(each, (ast.Import, ast.ImportFrom))
    ]

    assert len(source.splitlines()) <= 110
    assert sum(len(each.names) for each in imports) <= 23


def test_error_for_an_unknown_storage_style_lists_both_styles(shop: Shop) -> None:
    line = _get_error(shop.run(STYLE="rows"))

    assert line == "STYLE is not usable: Input should be 'state' or 'events'"


def _report(process: CompletionResult) -> str:
    assert process.code == 0, process.stderr
    return process.stdout.partition("\n\n")[2]


def test_second_import_reports_the_lines_that_are_already_stored(lasting_shop: Shop) -> None:
    first = lasting_shop.run()

    second = lasting_shop.run()

    assert "resumed" not in first.stdout
    assert "resumed: 25 of the accepted lines were stored by another run" in second.stdout
    assert _report(second) == _report(first)


def test_two_concurrent_imports_of_a_file_end_with_the_same_report(lasting_shop: Shop) -> None:
    lines = [
        f"{order},C-{order % 7},2026-01-02,2026-01-0{3 + order % 6},Lund,Sweden,P-{part},Tea,2,3,0"
        for order in range(20)
        for part in range(2)
    ]
    file = lasting_shop.write(HEAD, *lines)
    alone = Shop(lasting_shop.folder).run(file, BACKEND="memory")

    with ThreadPoolExecutor(2) as threads:
        both = [each.result() for each in [threads.submit(lasting_shop.run, file) for _ in "ab"]]

    assert {_report(each) for each in both} == {_report(alone)}


def test_next_page_of_the_order_list_starts_after_an_order(any_shop: Shop) -> None:
    first = any_shop.run()
    second = any_shop.run("--after", "S-1003")

    assert _find_listed_ids(first) == [f"S-{number}" for number in range(1012, 1002, -1)]
    assert "more: --report --after S-1003" in first.stdout
    assert _find_listed_ids(second) == ["S-1002", "S-1001"]


def _find_listed_ids(process: CompletionResult) -> list[str]:
    return re.findall(r"│ (S-\d+)", process.stdout.partition("Newest")[2])


def test_page_after_an_unknown_order_is_an_error_that_names_it(shop: Shop) -> None:
    file = shop.write(HEAD, LINE)
    shop.run(file)

    line = _get_error(shop.run("--report", file, "--after", "S-1"))

    assert line == "there is no order S-1 in the list"


def test_mapping_reads_a_file_with_other_columns_and_formats(any_shop: Shop) -> None:
    file = any_shop.write(
        INVOICES,
        "1;A;Tea;2;1/12/2010 08:26;2,55;17850;France",
        "1;A;Tea;2;1/12/2010 08:26;2,55;17850;France",
        "1;A;Tea;3;1/12/2010 08:27;2,55;17850;France",
        "C2;A;Tea;-1;2/12/2010 09:00;2,55;17850;France",
        "3;A;Tea;1;2/12/2010 09:00;2,55;;France",
        "3;A;Tea;1;2/12/2010 09:00;0;17850;France",
        "3;A;;-1;2/12/2010 09:00;1;17850;France",
        "C2;B;Tea;1;2/12/2010 09:00;2,55;17850;France",
        name="invoices.csv",
        encoding="utf-8-sig",
    )

    process = any_shop.run(file, "--mapping", MAPPING)

    assert "8 lines read: 3 accepted, 4 rejected, 1 duplicates" in process.stdout
    assert "1 orders, 1 cancellations, 3 lines, 1 customers, 1 countries" in process.stdout
    assert "10.20" in process.stdout
    assert "the reasons are in invoices.rejected.csv" in process.stdout
    assert [
        line.partition(",3;")[0].split(",3,")[0]
        for line in any_shop.read_rejected_lines("invoices")
    ] == [
        "6,CustomerID is empty",
        "7,UnitPrice is '0': Input should be greater than 0",
        "8,the quantity is -1; in order 3 it must be > 0",
        '9,the quantity is 1; in cancellation C2 it must be < 0,C2,B,Tea,1,2/12/2010 09:00,"2,55"'
        ",17850,France",
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            LINE.replace(",2,3.50", ",two,3.50"),
            "quantity is 'two': Input should be a valid integer",
        ),
        (LINE.replace(",2,3.50", ",-2,3.50"), "the quantity is -2; in order 1 it must be > 0"),
        (LINE.replace(",2,3.50", ",0,3.50"), "the quantity is 0; in order 1 it must be > 0"),
        (LINE.replace("3.50", "NaN"), "unit_price is 'NaN': Input should be a finite number"),
        (LINE.replace("3.50", "1.0005"), "unit_price is '1.0005': Decimal input should have no"),
        (LINE.replace("3.50", "100000"), "unit_price is '100000': Input should be less than"),
        (LINE.replace("2026-01-02", "0001-01-01"), "order_date is '0001-01-01': Input should be"),
        (LINE.replace("ANNA", "A" * 501), "customer_id is 'AAA"),
        (LINE.replace("0.10", "10"), "discount is '10': Input should be less than or equal to 1"),
        (LINE.replace("ANNA", " "), "customer_id is empty"),
        (LINE.replace("2026-01-02", "02.01.2026"), "order_date is '02.01.2026': time data"),
        (LINE.replace("2026-01-05", "2026-01-32"), "shipped_date is '2026-01-32': "),
        (LINE.replace("-02,2026-01-05", "-06,2026-01-05"), "shipped_date is '2026-01-05': it is"),
        (f"{LINE},surplus", "12 cells for 11 columns"),
        ("1,ANNA", "2 cells for 11 columns"),
        (LINE.replace("ANNA", "BERT"), "order 1 has another customer than BERT"),
        (LINE.replace("P,Tea", "Q,Cup").replace("2026-01-05", "2026-01-06"), "an earlier line of"),
    ],
)
def test_rejected_line_is_written_to_a_file_with_its_reason(
    in_memory: Shop, line: str, reason: str
) -> None:
    file = in_memory.write(HEAD, LINE, line, LINE.replace("P,Tea", "R,Rye"))

    process = in_memory.run(file)

    assert process.code == 0, process.stderr
    assert "3 lines read: 2 accepted, 1 rejected, 0 duplicates" in process.stdout
    (kept,) = in_memory.read_rejected_lines()
    assert kept.replace('"', "").startswith(f"3,{reason}")


def test_late_lines_of_a_shipped_order_are_rejected(in_memory: Shop) -> None:
    other = LINE.replace("1,ANNA", "2,BERT")
    file = in_memory.write(HEAD, LINE, other, LINE.replace("P,Tea", "Q,Cup"))

    process = in_memory.run(file)

    assert "3 lines read: 2 accepted, 1 rejected" in process.stdout
    assert (
        "order 1 was shipped at 2026-01-05; place a new order for Cup"
        in in_memory.read_rejected_lines()[0]
    )


def test_second_import_of_a_longer_file_adds_only_new_lines(shop: Shop) -> None:
    file = shop.write(HEAD, LINE)
    shop.run(file)
    shop.write(HEAD, LINE, LINE.replace("1,ANNA", "2,BERT"))

    process = shop.run(file)

    assert "2 lines read: 2 accepted" in process.stdout
    assert "resumed: 1 of the accepted" in process.stdout
    assert "2 orders, 2 lines, 2 customers" in process.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column order_id, customer_id"),
        (HEAD.replace("quantity,", "").encode(), "has no column quantity; its first line names"),
        (f"{HEAD},quantity\n".encode(), "has the column quantity twice"),
        (
            f"{HEAD}\n{LINE}\n".encode() + b"2,\xff\xfe",
            "is not utf-8-sig: invalid start byte; set its encoding",
        ),
        (f'{HEAD}\n{LINE}\n2,"BERT\n{LINE}\n'.encode(), "is invalid after line"),
    ],
)
def test_unreadable_file_changes_nothing(shop: Shop, content: bytes, message: str) -> None:
    file = shop.folder / "orders.csv"
    file.write_bytes(content)

    process = shop.run(file)

    assert message in _get_error(process)
    assert [path.name for path in shop.folder.iterdir()] == ["orders.csv"]


def test_missing_input_file_is_named_in_the_error(shop: Shop) -> None:
    missing, folder = shop.run("none.csv"), shop.run(shop.folder)

    assert (
        _get_error(missing) == "cannot read none.csv: No such file or directory; give another file"
    )
    assert "is not a regular file, which can be read twice" in _get_error(folder)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (None, "cannot read the mapping mapping.json: No such file or directory"),
        ("{", "the mapping mapping.json is not usable: Invalid JSON"),
        ('{"delimiter": ";;"}', "delimiter: String should match pattern"),
        ('{"delimiter": "\\""}', "delimiter: String should match pattern"),
        ('{"date_format": "%Y-%m"}', "date_format: Value error, it must contain day, month"),
        ('{"date_format": "%Y%Y-%m-%d"}', "date_format: Value error, it must contain day, month"),
        ('{"encoding": "rot13"}', "encoding: Value error, there is no encoding rot13 for text"),
        ('{"columns": {"prize": "p"}}', "columns.prize: Extra inputs are not permitted"),
        ('{"encoding": "klingon"}', "encoding: Value error, there is no encoding klingon for text"),
        ('{"decimal": "\'"}', "decimal: Input should be '.' or ','"),
    ],
)
def test_invalid_mapping_is_named_in_the_error(
    shop: Shop, mapping: str | None, message: str
) -> None:
    if mapping is not None:
        shop.write(mapping, name="mapping.json")

    process = shop.run("--mapping", "mapping.json")

    assert message in _get_error(process)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "DATABASE_URL is not usable: the database URL is malformed"),
        ("orders", "DATABASE_URL is not usable: the database URL is malformed"),
        ("mysql://root@localhost/orders", "DATABASE_URL is not usable: mysql:// is not supported"),
        ("postgresql://localhost/orders", "begin the URL with postgresql+asyncpg://"),
        ("sqlite+aiosqlite:///none/orders.db", "there is no folder none for"),
        ("postgresql+asyncpg://me@127.0.0.1:1/orders", "Connect call failed"),
        ("postgresql+asyncpg://me@127.0.0.1:port/orders", "the database URL is malformed"),
        ("postgresql+asyncpg://me@host.invalid/orders", "cannot"),
    ],
)
def test_unreachable_database_is_reported_in_one_line(shop: Shop, url: str, message: str) -> None:
    process = shop.run(DATABASE_URL=url)

    assert message in _get_error(process)


@pytest.mark.parametrize("wrong", ["database", "password"])
def test_rejected_login_is_reported_in_one_line(shop: Shop, postgres_url: str, wrong: str) -> None:
    url = new_database(postgres_url)
    user, _, rest = url.rpartition("@")
    url = f"{url}_absent" if wrong == "database" else f"{user.rpartition(':')[0]}:wrong@{rest}"

    line = _get_error(shop.run(DATABASE_URL=url))

    # The server names the database or the user, in its own language.
    assert line.startswith("cannot check the schema: ")
    assert (url.rpartition("/")[2] if wrong == "database" else "postgres") in line


def test_file_that_is_not_a_database_is_not_changed(shop: Shop) -> None:
    file = shop.write("no database, " * 400, name="orders.db")
    before = file.read_bytes()

    line = _get_error(shop.run())

    assert "file is not a database" in line
    assert file.read_bytes() == before


def test_locked_database_is_reported_in_one_line_and_not_changed(shop: Shop) -> None:
    shop.run(shop.write(HEAD, LINE))
    before = shop.run("--report").stdout
    blocker = sqlite3.connect(shop.folder / "orders.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")

    process = shop.run(shop.write(HEAD, LINE, LINE.replace("P,", "Q,")), BUSY_SECONDS="0.2")
    report = shop.run("--report", BUSY_SECONDS="0.2")
    blocker.close()

    assert "database is locked" in _get_error(process)
    assert report.stdout == before
    assert shop.run("--report").stdout == before


def test_read_only_database_is_reported_in_one_line(shop: Shop, postgres_url: str) -> None:
    shop.run()
    only = f"sqlite+aiosqlite:///file:{shop.folder}/orders.db?mode=ro&uri=true"
    url = new_database(postgres_url, "default_transaction_read_only = on")

    line = _get_error(shop.run(shop.write(HEAD, LINE), DATABASE_URL=only))
    postgres_line = _get_error(shop.run(DATABASE_URL=url))

    assert "readonly database" in line
    assert "CREATE TABLE" in postgres_line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "ALTER TABLE country_sales DROP COLUMN lines",
            "table country_sales has another version",
        ),
        ("ALTER TABLE orders ADD COLUMN seller TEXT", "table orders has another version or"),
        ("UPDATE cqrs_ddd_versions SET version = 99", "have version 99, this library requires"),
    ],
)
def test_order_example_rejects_tables_with_another_schema_version(
    shop: Shop, change: str, message: str
) -> None:
    file = shop.write(HEAD, LINE)
    shop.run(file)
    shop.execute(change)

    assert message in _get_error(shop.run(file))


def test_database_of_another_application_is_not_changed(shop: Shop) -> None:
    shop.execute("CREATE TABLE orders (number INTEGER)")

    line = _get_error(shop.run())

    assert "table orders has another version or belongs to another application" in line
    assert shop.execute("SELECT name FROM sqlite_master") == [("orders",)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("BACKEND", "mongo"), ("BUSY_SECONDS", "nan"), ("LEASE_SECONDS", "-1")],
)
def test_invalid_setting_is_named_in_the_error(shop: Shop, variable: str, value: str) -> None:
    assert f"{variable} is not usable" in _get_error(shop.run(**{variable: value}))


def test_report_command_without_a_database_creates_none(shop: Shop) -> None:
    line = _get_error(shop.run("--report", "none.csv"))

    assert line == "there is no database none.db; import the file first"
    assert not list(shop.folder.iterdir())


def test_pipe_is_rejected_as_an_input_file(shop: Shop) -> None:
    pipe = shop.folder / "pipe.csv"
    os.mkfifo(pipe)

    assert "is not a regular file, which can be read twice" in _get_error(shop.run(pipe))


def test_markup_in_values_is_printed_literally(in_memory: Shop) -> None:
    file = in_memory.write(HEAD, LINE.replace("Sweden", "[/red]").replace("ANNA", "[bold]x[/]"))

    process = in_memory.run(file)

    assert process.code == 0, process.stderr
    assert "[/red]" in process.stdout
    assert "[bold]x[/]" in process.stdout


def test_largest_allowed_amounts_fit_in_every_backend(any_shop: Shop) -> None:
    largest = LINE.replace(",2,3.50,0.10", ",100000,99999.999,0.01")
    file = any_shop.write(HEAD, *(largest.replace("1,A", f"{order},A", 1) for order in range(20)))

    process = any_shop.run(file)

    assert process.code == 0, process.stderr
    assert "197,999,998,020.00" in process.stdout


def test_order_rejects_more_lines_than_the_limit(in_memory: Shop) -> None:
    lines = [LINE.replace("P,Tea", f"P{part},Tea").replace("2026-01-05", "") for part in range(11)]
    in_memory.before = load_ten_lines_at_most

    process = in_memory.run(in_memory.write(HEAD, *lines))

    assert "10 accepted, 1 rejected" in process.stdout
    assert "order 1 has 10 lines; place another one" in in_memory.read_rejected_lines()[0]


def load_ten_lines_at_most() -> None:
    domain.MAX_LINES = 10


@pytest.mark.long
def test_two_files_with_lines_of_the_same_orders_can_be_imported_at_once(
    lasting_shop: Shop,
) -> None:
    facts = "ANNA,2026-01-02,,Lund,Sweden"
    files = [
        lasting_shop.write(
            HEAD,
            *(f"{n % 10},{facts},{name}{n},Tea,1,2,0" for n in range(FILE_LINES)),
            name=f"{name}.csv",
        )
        for name in "ab"
    ]
    lasting_shop.environment.setdefault("DATABASE_URL", "sqlite+aiosqlite:///orders.db")
    lasting_shop.run(lasting_shop.write(HEAD, *(f"{n},{facts},P,Tea,1,2,0" for n in range(10))))

    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(lasting_shop.run, file) for file in files]
        ended = [run.result() for run in runs]

    assert [each.code for each in ended] == [0, 0], ended
    assert f"10 orders, {10 + 2 * FILE_LINES} lines" in lasting_shop.run("--report").stdout


def test_file_with_another_mapping_is_not_imported_twice(shop: Shop) -> None:
    file = shop.write(HEAD, LINE.replace("2026-01-05", "").replace("2026-01-02", "2026-02-01"))
    shop.run(file)
    mapping = shop.write('{"date_format": "%Y-%d-%m"}', name="mapping.json")

    process = shop.run(file, "--mapping", mapping)

    assert "0 accepted, 1 rejected" in process.stdout
    assert "it was imported before with another mapping" in shop.read_rejected_lines()[0]


def test_rejected_lines_never_overwrite_another_file(shop: Shop) -> None:
    file = shop.write(HEAD, "1,ANNA")
    before = file.read_bytes()

    line = _get_error(shop.run(file, "--rejected", file))

    assert line.endswith("is not a file of rejected lines; name another file")
    assert file.read_bytes() == before


def test_interrupted_import_is_reported_and_can_be_resumed(shop: Shop) -> None:
    lines = [LINE.replace("1,ANNA", f"{order},ANNA", 1) for order in range(40)]
    file = shop.write(HEAD, *lines)

    process = run_program(
        shop.folder, file, environment={}, life=TIMEOUT, before=interrupt_in_the_middle
    )
    again = shop.run(file)

    assert process.code == 130
    assert process.stderr.splitlines()[-1] == "interrupted; run it again to continue"
    assert re.search(r"resumed: \d+ of the accepted", again.stdout)
    assert "40 orders, 40 lines" in again.stdout


def interrupt_in_the_middle() -> None:
    # A shell that starts the tests in the background lets them ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lines = OrderFile.read_lines

    def interrupt(self: OrderFile) -> Iterator[ReadLine | Rejection]:
        for number, line in enumerate(lines(self)):
            if number == 20:
                os.kill(os.getpid(), signal.SIGINT)
            yield line

    OrderFile.read_lines = interrupt  # type: ignore[method-assign]


def test_order_example_runs_as_a_module(shop: Shop) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "order_system"],
        cwd=shop.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "docs/examples"), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=TIMEOUT,
    )

    assert "12 orders, 25 lines, 5 customers, 4 countries" in done.stdout
    assert "importing orders.csv" in done.stderr


def test_help_lists_the_environment_variables_and_exit_codes(shop: Shop) -> None:
    process = shop.run("--help")

    assert process.code == 0
    for text in ("DATABASE_URL", "BACKEND", "STYLE", "--mapping", "--after", "exit codes", "130"):
        assert text in process.stdout
    assert shop.run("--nonsense").code == 2


def test_unwritable_file_of_rejected_lines_is_an_error(in_memory: Shop) -> None:
    file = in_memory.write(HEAD, LINE, "1,ANNA")

    process = in_memory.run(file, "--rejected", "none/rejected.csv")

    assert "cannot be written to none/rejected.csv: No such file or directory" in _get_error(
        process
    )
