"""The order service as its clients meet it, on every back end."""

from __future__ import annotations

import asyncio
import contextvars
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import httpx
import pytest
from fastapi import Depends, FastAPI
from order_service import service as endpoints
from order_service.problems import ANSWERS, answer_to
from order_service.service import create_app, from_environment, open_transaction, snapshot_uow
from order_system import composition
from order_system.composition import Settings, System
from order_system.projections import OrderSummaries
from order_system.sales import ListOrders

from cqrs_ddd_advanced_core.projections import ProjectionWorker
from cqrs_ddd_core import ContextFilter, CQRSDDDError, StoredEvent, UnitOfWork, get_correlation_id
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import IEventLog
from cqrs_ddd_core.ports.event_store import IEventStoreProvider
from cqrs_ddd_core.primitives.exceptions import (
    BusinessRuleError,
    CommitOutcomeUnknownError,
    ErrorClass,
    InvariantViolationError,
    LockAcquisitionError,
    OptimisticConcurrencyError,
    PersistenceError,
    ValidationError,
    classify_error,
)
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from tests.databases import new_database
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/guides/fastapi.md").read_text("utf-8")
ORDER = {"customer_id": "ANNA", "country": "Sweden", "placed_at": "2026-01-02T00:00:00Z"}
LINE = {"id": "1", "product_id": "P", "product": "Tea", "quantity": 2, "unit_price": "3.50"}
SHIPMENT = {"shipped_at": "2026-01-05T00:00:00Z"}
SECRET = "INSERT INTO orders failed on db-7.internal"

Json = dict[str, Any]


@dataclass
class Service:
    app: FastAPI
    client: httpx.AsyncClient

    @property
    def system(self) -> System:
        system: System = self.app.state.system
        return system

    async def add_line(
        self, order_id: str = "1", *, key: str | None = None, **changed: Any
    ) -> httpx.Response:
        line = {**LINE, **changed.pop("line", {})}
        headers = {"Idempotency-Key": key} if key else {}
        return await self.client.post(
            f"/orders/{order_id}/lines", json={**ORDER, "line": line, **changed}, headers=headers
        )

    async def place_order(
        self, order_id: str, *lines: Json, key: str | None = None
    ) -> httpx.Response:
        return await self.client.post(
            "/orders",
            json={**ORDER, "order_id": order_id, "lines": [{**LINE, **each} for each in lines]},
            headers={"Idempotency-Key": key} if key else {},
        )

    async def ship(self, order_id: str = "1", **headers: str) -> httpx.Response:
        return await self.client.post(
            f"/orders/{order_id}/shipment", json=SHIPMENT, headers=headers
        )

    async def events(self, order_id: str = "1") -> list[StoredEvent]:
        async with self.system.uow_factory() as uow:
            return await self.log_of(uow).get_events(order_id)

    @staticmethod
    def log_of(uow: UnitOfWork) -> IEventLog:
        carrier: object = uow
        assert isinstance(carrier, IEventStoreProvider)
        assert isinstance(carrier.event_store, IEventLog)
        return carrier.event_store

    async def relayed(self) -> None:
        """Returns when tables and list know of everything."""
        for _ in range(500):
            if not await self.system.outbox.get_pending(limit=1):
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the relay leaves messages in the outbox")
        end = await self.system.events.latest_position()
        assert await self.system.positions.wait_until(end, [OrderSummaries.collection], timeout=10)

    async def stop_working(self) -> None:
        """Nothing runs beside the requests from now on."""
        await self.system.relay.stop()
        await self.system.worker.stop()

    async def revenue(self, day: str = "2026-01-02") -> Decimal:
        return Decimal((await self.client.get(f"/revenue/{day}")).json()["revenue"])

    def break_with(self, error: Exception) -> None:
        """Add an endpoint that fails so."""

        async def fail() -> None:
            raise error

        self.app.add_api_route("/broken", fail)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[Service]:
    # A server answers with 500 and logs the error; so here it is not raised again.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://orders.test") as client,
    ):
        yield Service(app, client)


@pytest.fixture(autouse=True)
def _who_looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else most of the time would be spent waiting for the next look of relay and worker."""

    def looking_often(kind: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **options: kind(*given, **{**options, "poll_interval": 0.02})

    for kind in (OutboxRelay, ProjectionWorker):
        monkeypatch.setattr(composition, kind.__name__, looking_often(kind))


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "memory":
        return Settings("", backend="memory")
    if request.param == "sqlite":
        return _on_sqlite(tmp_path)
    return Settings(new_database(request.getfixturevalue("postgres_url")))


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serving(create_app(settings)) as service:
        yield service


@pytest.fixture
async def in_memory() -> AsyncIterator[Service]:
    """Where the back end does not matter."""
    async with serving(create_app(Settings("", backend="memory"))) as service:
        yield service


def _on_sqlite(folder: Path, **changed: Any) -> Settings:
    return Settings(f"sqlite+aiosqlite:///{folder}/orders.db", **changed)


def _problem(response: httpx.Response, status: int, name: str) -> Json:
    """The body, after what every problem must have."""
    problem: Json = response.json()
    assert (response.status_code, problem["status"]) == (status, status), problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == (name if name == "about:blank" else f"/problems/{name}")
    assert problem["title"]
    assert problem["instance"] == response.request.url.raw_path.decode().partition("?")[0]
    assert problem["correlation_id"] == response.headers["x-correlation-id"]
    return problem


def _with_subclasses(kind: type[CQRSDDDError]) -> Iterator[type[CQRSDDDError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _with_subclasses(each)


OF_THE_TOOLKIT = sorted(
    {
        kind
        for kind in _with_subclasses(CQRSDDDError)
        if kind.__module__.startswith("cqrs_ddd_core.primitives.exceptions.")
    },
    key=lambda kind: kind.__name__,
)


async def test_a_line_places_an_order_and_is_listed_and_reported(service: Service) -> None:
    added = await service.add_line()
    shipped = await service.ship()
    await service.relayed()
    page = await service.client.get("/orders")
    report = await service.client.get("/sales")

    assert added.status_code == 201
    assert added.json() == {"order_id": "1", "line_id": "1", "result": "added"}
    assert (shipped.status_code, shipped.json()) == (200, {"order_id": "1"})
    (listed,) = page.json()["orders"]
    assert (listed["id"], listed["lines"], listed["days_to_ship"]) == ("1", 1, 3)
    (country,) = report.json()["countries"]
    assert (country["id"], country["orders"]) == ("Sweden", 1)
    assert float(country["revenue"]) == 7


async def test_a_line_that_is_there_already_is_told_apart(service: Service) -> None:
    await service.add_line()

    again = await service.add_line()

    assert (again.status_code, again.json()["result"]) == (200, "duplicate")


async def test_the_same_key_gives_the_same_answer_and_one_effect(service: Service) -> None:
    first = await service.add_line(key="k-1")
    again = await service.add_line(key="k-1")

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert [event.event_type for event in await service.events()] == ["OrderPlaced", "LineAdded"]


async def test_two_at_once_under_one_key_have_one_effect(service: Service) -> None:
    answers = await asyncio.gather(*(service.add_line(key="k-1") for _ in range(4)))

    assert {(answer.status_code, answer.text) for answer in answers} == {
        (201, '{"order_id":"1","line_id":"1","result":"added"}')
    }
    assert len(await service.events()) == 2


async def test_a_key_for_another_content_is_refused(service: Service) -> None:
    await service.add_line(key="k-1")

    another_line = await service.add_line(key="k-1", line={"quantity": 3})
    another_endpoint = await service.ship(**{"Idempotency-Key": "k-1"})

    _problem(another_line, 422, "key-in-use")
    _problem(another_endpoint, 422, "key-in-use")
    assert len(await service.events()) == 2


async def test_a_key_that_failed_may_be_used_again(service: Service) -> None:
    refused = await service.ship(**{"Idempotency-Key": "k-1"})
    await service.add_line()

    again = await service.ship(**{"Idempotency-Key": "k-1"})

    _problem(refused, 404, "not-found")
    assert again.status_code == 200


@pytest.mark.parametrize("key", ["", "two words", "a" * 101])
async def test_a_key_that_is_none_is_refused(in_memory: Service, key: str) -> None:
    response = await in_memory.ship(**{"Idempotency-Key": key})

    assert list(_problem(response, 422, "invalid")["errors"]) == ["header.idempotency-key"]


async def test_an_order_with_its_lines_is_placed_whole(service: Service) -> None:
    response = await service.place_order("1", {"id": "1"}, {"id": "2"})

    assert (response.status_code, response.json()) == (201, {"order_id": "1"})
    types = [event.event_type for event in await service.events()]
    assert types == ["OrderPlaced", "LineAdded", "LineAdded"]


async def test_an_order_with_a_wrong_line_is_not_placed(service: Service) -> None:
    refused = await service.place_order("1", {"id": "1"}, {"id": "2", "quantity": 0}, key="k-1")

    assert "the quantity is 0" in _problem(refused, 409, "rejected")["detail"]
    assert await service.events() == []
    assert (await service.place_order("1", {"id": "1"}, key="k-1")).status_code == 201


async def test_an_order_under_a_known_key_is_not_placed_twice(service: Service) -> None:
    first = await service.place_order("1", {"id": "1"}, key="k-1")
    again = await service.place_order("1", {"id": "1"}, key="k-1")
    other = await service.place_order("1", {"id": "1"}, {"id": "2"}, key="k-1")

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    _problem(other, 422, "key-in-use")
    assert len(await service.events()) == 2


async def test_the_list_is_read_page_by_page(service: Service) -> None:
    for number in range(5):
        await service.add_line(f"n-{number}&")
    await service.relayed()
    pages, following = [], "/orders?limit=2"

    while following:
        page = (await service.client.get(following)).json()
        pages.append([order["id"] for order in page["orders"]])
        following = page["next"]

    assert pages == [["n-0&", "n-1&"], ["n-2&", "n-3&"], ["n-4&"]]


async def test_a_page_behind_an_unknown_order_is_not_found(service: Service) -> None:
    response = await service.client.get("/orders?after=none")

    assert _problem(response, 404, "not-found")["detail"] == "there is no order none in the list"


async def test_a_position_comes_with_what_was_stored(service: Service) -> None:
    first = await service.add_line(key="k-1")
    second = await service.ship()
    nothing_new = await service.add_line(key="k-1")

    position = int(second.headers["consistency-position"])
    assert position > int(first.headers["consistency-position"])
    assert "consistency-position" not in nothing_new.headers
    async with service.system.uow_factory() as uow:
        assert await service.log_of(uow).wait_for(position, timeout=1)
        assert not await service.log_of(uow).wait_for(position + 1, timeout=0.01)


async def test_who_reads_at_the_position_of_a_write_finds_it(service: Service) -> None:
    for number in range(5):
        written = await service.add_line(str(number))

        position = {"Consistency-Position": written.headers["consistency-position"]}
        page = await service.client.get("/orders", headers=position)

        assert str(number) in [order["id"] for order in page.json()["orders"]]


async def test_a_list_that_does_not_get_to_the_position_says_so(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "POSITION_TIMEOUT", 0.05)
    await service.relayed()
    await service.stop_working()
    written = await service.add_line()
    position = {"Consistency-Position": written.headers["consistency-position"]}

    behind = await service.client.get("/orders", headers=position)
    stale = await service.client.get("/orders")
    await service.system.worker.drain()
    there = await service.client.get("/orders", headers=position)

    assert "is stored" in _problem(behind, 503, "behind")["detail"]
    assert behind.headers["retry-after"] == "1"
    assert (stale.status_code, stale.json()["orders"]) == (200, [])
    assert [order["id"] for order in there.json()["orders"]] == ["1"]


@pytest.mark.parametrize("position", ["-1", "x", "1.5", str(2**63)])
async def test_a_position_that_is_none_is_refused(in_memory: Service, position: str) -> None:
    response = await in_memory.client.get("/orders", headers={"Consistency-Position": position})

    assert list(_problem(response, 422, "invalid")["errors"]) == ["header.Consistency-Position"]


async def test_the_revenue_of_a_day_is_there_with_the_answer(service: Service) -> None:
    await service.stop_working()
    await service.add_line("1")
    await service.place_order("2", {"id": "1"}, {"id": "2", "quantity": 3})

    assert await service.revenue() == 7 + 7 + Decimal("10.5")
    assert await service.revenue("2026-01-03") == 0


async def test_all_who_sell_on_one_day_at_once_are_counted(service: Service) -> None:
    answers = await asyncio.gather(*(service.add_line(str(number)) for number in range(8)))

    assert {answer.status_code for answer in answers} == {201}
    assert await service.revenue() == 8 * 7


async def test_the_correlation_id_of_a_client_is_in_the_events_it_causes(
    service: Service,
) -> None:
    response = await service.client.post(
        "/orders/1/lines",
        json={**ORDER, "line": LINE},
        headers={"X-Correlation-ID": "checkout:17", "Idempotency-Key": "k-1"},
    )

    assert response.headers["x-correlation-id"] == "checkout:17"
    events = await service.events()
    assert {(each.correlation_id, each.causation_id) for each in events} == {("checkout:17", "k-1")}


@pytest.mark.parametrize("told", [None, "", "a b", "a\tb", "é", "a" * 101, "{}"])
async def test_a_correlation_id_that_is_not_sane_is_replaced(
    in_memory: Service, told: str | None
) -> None:
    headers = {} if told is None else {b"X-Correlation-ID": told.encode()}

    response = await in_memory.client.get("/orders", headers=headers)

    assert re.fullmatch("[0-9a-f-]{36}", response.headers["x-correlation-id"])


async def test_requests_at_once_keep_their_ids_apart(service: Service) -> None:
    async def add(number: int) -> None:
        headers = {"X-Correlation-ID": f"r-{number}"}
        body = {**ORDER, "line": LINE}
        await service.client.post(f"/orders/{number}/lines", json=body, headers=headers)

    await asyncio.gather(*map(add, range(8)))

    for number in range(8):
        events = await service.events(str(number))
        assert {each.correlation_id for each in events} == {f"r-{number}"}
    assert get_correlation_id() is None


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/orders/1/lines", {**ORDER, "line": {**LINE, "quantity": "two"}}, "body.line.quantity"),
        ("/orders/1/lines", {**ORDER, "line": LINE, "colour": "red"}, "body.colour"),
        ("/orders/1/lines", ORDER, "body.line"),
        ("/orders/1/shipment", {"shipped_at": "2026-01-05T00:00:00"}, "body.shipped_at"),
        ("/orders/a%00b/shipment", SHIPMENT, "path.order_id"),
        ("/orders", {**ORDER, "order_id": "1", "lines": []}, "body.lines"),
    ],
)
async def test_a_body_that_is_wrong_is_told_field_by_field(
    in_memory: Service, path: str, body: Json, field: str
) -> None:
    response = await in_memory.client.post(path, json=body)

    problem = _problem(response, 422, "invalid")
    assert list(problem["errors"]) == [field]
    assert "order_service" not in response.text


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"\\ud800": 1}', b'{"customer_id": "\\ud800"}', b"[]", b""]
)
async def test_a_body_that_cannot_be_read_is_a_problem_like_others(
    in_memory: Service, body: bytes
) -> None:
    response = await in_memory.client.post(
        "/orders/1/lines", content=body, headers={"Content-Type": "application/json"}
    )

    assert response.status_code in (400, 422)
    assert response.json()["instance"] == "/orders/1/lines"
    assert response.headers["content-type"] == "application/problem+json"


async def test_what_has_no_endpoint_is_a_problem_too(in_memory: Service) -> None:
    missing = await in_memory.client.get("/none/%C3%A9")
    wrong = await in_memory.client.delete("/sales")

    _problem(missing, 404, "about:blank")
    _problem(wrong, 405, "about:blank")
    assert wrong.headers["allow"] == "GET"


async def test_findings_of_the_application_are_told_by_field(in_memory: Service) -> None:
    in_memory.break_with(ValidationError("two findings", errors={"city": ["unknown"]}))

    problem = _problem(await in_memory.client.get("/broken"), 422, "invalid")

    assert problem["detail"] == "two findings"
    assert problem["errors"] == {"city": ["unknown"]}


@pytest.mark.parametrize("kind", [BusinessRuleError, InvariantViolationError])
async def test_a_rule_speaks_for_itself(in_memory: Service, kind: type[CQRSDDDError]) -> None:
    in_memory.break_with(kind("order 1 was shipped"))

    problem = _problem(await in_memory.client.get("/broken"), 409, "rejected")

    assert problem["detail"] == "order 1 was shipped"


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (OptimisticConcurrencyError(SECRET), 409, "conflict"),
        (LockAcquisitionError(SECRET), 503, "busy"),
        (PersistenceError(SECRET), 503, "unavailable"),
        (CommitOutcomeUnknownError(SECRET), 503, "outcome-unknown"),
        (CQRSDDDError(SECRET), 500, "fault"),
        (RuntimeError(SECRET), 500, "fault"),
    ],
)
async def test_what_is_inside_goes_to_the_log_and_not_to_the_client(
    in_memory: Service,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    name: str,
) -> None:
    in_memory.break_with(error)
    caplog.handler.addFilter(ContextFilter())

    response = await in_memory.client.get("/broken", headers={"X-Correlation-ID": "r-1"})

    assert "internal" not in _problem(response, status, name)["detail"]
    assert SECRET not in response.text
    assert response.headers["x-correlation-id"] == "r-1"
    assert ("Retry-After" in response.headers) is (status == 503)
    logged = [each for each in caplog.records if each.name == "order_service.problems"]
    assert len(logged) == (status >= 500)
    for record in logged:
        assert SECRET in record.getMessage()
        assert record.exc_info
        assert vars(record)["correlation_id"] == "r-1"


@pytest.mark.parametrize("kind", OF_THE_TOOLKIT, ids=lambda kind: kind.__name__)
def test_whether_it_helps_to_send_it_again_is_told_truly(kind: type[CQRSDDDError]) -> None:
    error = kind("it failed")

    answer = answer_to(error)

    if classify_error(error) is ErrorClass.TRANSIENT and kind is not CQRSDDDError:
        assert answer.status in (409, 503)
    else:
        assert answer.status != 503
    assert ("Retry-After" in answer.headers) is (answer.status == 503)


def test_what_the_page_quotes_stands_in_the_example() -> None:
    modules = (ROOT / "docs/examples/order_service").glob("*.py")
    source = "".join(module.read_text("utf-8") for module in modules)

    quotes = re.findall(r"^<!-- skip: next -->\n+```python\n(.+?)```", PAGE, re.M | re.S)

    assert quotes
    for quote in quotes:
        assert quote in source


def test_the_page_shows_the_table_of_answers() -> None:
    rows = re.findall(r"^\| (`.+?) \| (\d+) \|.*\| `/problems/([\w-]+)` \|$", PAGE, re.M)

    told = {
        name: (int(status), f"/problems/{kind}")
        for names, status, kind in rows
        for name in re.findall(r"`(\w+)`", names)
    }

    assert told == {kind.__name__: (answer.status, answer.type) for kind, answer in ANSWERS.items()}


async def test_a_locked_database_is_a_pause_and_no_secret(tmp_path: Path) -> None:
    async with serving(create_app(_on_sqlite(tmp_path, busy_seconds=0.1))) as service:
        await service.add_line()
        await service.relayed()
        blocker = sqlite3.connect(tmp_path / "orders.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")

        refused = await service.ship(**{"Idempotency-Key": "k-1"})
        blocker.close()
        again = await service.ship(**{"Idempotency-Key": "k-1"})

    problem = _problem(refused, 503, "unavailable")
    assert not re.search("lock|sqlite|orders.db|INSERT", problem["detail"] + problem["title"])
    assert refused.headers["retry-after"] == "1"
    assert again.status_code == 200


async def test_a_server_that_is_gone_is_a_pause_and_no_secret(postgres_url: str) -> None:
    url = await asyncio.to_thread(new_database, postgres_url)
    name = url.rpartition("/")[2]
    gone = [
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    ]
    async with serving(create_app(Settings(url))) as service:
        await service.add_line()
        await service.relayed()
        await _execute(postgres_url, *gone)

        refused = [await service.ship(), await service.client.get("/orders")]
        await _execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        again = await service.ship()

    for response in refused:
        problem = _problem(response, 503, "unavailable")
        assert name not in response.text
        assert "connect" not in problem["detail"]
    assert again.status_code == 200


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class CannotCommit(InMemoryUnitOfWork):
    async def commit(self) -> None:
        raise PersistenceError(SECRET)


def _without_commit(system: System) -> System:
    def cannot_commit() -> UnitOfWork:
        made = system.uow_factory()
        assert isinstance(made, InMemoryUnitOfWork)
        return CannotCommit(made.event_store, made.outbox, made.inbox, projections=made.projections)

    return replace(system, uow_factory=cannot_commit)


async def test_a_commit_that_fails_is_answered_with_the_error(in_memory: Service) -> None:
    in_memory.app.state.system = _without_commit(in_memory.system)

    response = await in_memory.place_order("1", {"id": "1"})

    _problem(response, 503, "unavailable")


async def test_without_its_scope_a_dependency_commits_behind_the_answer(
    in_memory: Service,
) -> None:
    """Why `UowDep` has the scope; should it ever fail, FastAPI has changed."""

    async def change(uow: Annotated[UnitOfWork, Depends(open_transaction)]) -> None:
        pass

    in_memory.app.add_api_route("/changes", change, methods=["POST"])
    in_memory.app.state.system = _without_commit(in_memory.system)

    response = await in_memory.client.post("/changes")

    assert response.status_code == 200


@pytest.mark.parametrize("whole", [False, True], ids=["a command", "a transaction of the endpoint"])
async def test_a_request_that_is_cancelled_anywhere_leaves_all_or_nothing(
    service: Service, whole: bool
) -> None:
    await service.stop_working()  # Its tasks come and go, and the sweep watches for such.
    keys: list[str] = []
    found: Counter[int] = Counter()

    async def send(key: str) -> httpx.Response:
        if whole:
            return await service.place_order(f"order-{key}", {"id": "1"}, key=key)
        return await service.add_line(f"order-{key}", key=key)

    async def send_anew() -> None:
        keys.append(f"k-{len(keys)}")
        await send(keys[-1])

    async def check() -> None:
        stored = await service.events(f"order-{keys[-1]}")
        found[len(stored)] += 1
        again = await send(keys[-1])
        assert again.status_code == 201
        assert len(await service.events(f"order-{keys[-1]}")) == 2

    suspensions = await cancel_sweep(send_anew, check)

    assert suspensions > 5
    assert set(found) == {0, 2}
    messages = await service.system.outbox.get_pending(limit=1000)
    assert len(messages) == 2 * len(keys)
    assert await service.revenue() == 7 * len(keys)


async def test_a_report_that_is_cancelled_anywhere_gives_its_connection_back(
    service: Service,
) -> None:
    await service.add_line()
    await service.relayed()
    await service.stop_working()

    async def ask() -> None:
        await service.client.get("/sales")

    async def check() -> None:
        assert (await service.client.get("/sales")).json()["totals"]["customers"] == 1
        assert (await service.add_line("2")).status_code in (200, 201)

    assert await cancel_sweep(ask, check) > 2


@pytest.mark.parametrize("dependency", [open_transaction, snapshot_uow])
async def test_reads_see_one_state_where_they_are_held_still(
    service: Service, dependency: Callable[[System], AsyncIterator[UnitOfWork]]
) -> None:
    async def orders() -> int:
        return len((await service.system.mediator.query(ListOrders())).result)

    async def add_another() -> None:
        await service.add_line("2")
        await service.relayed()

    await service.add_line("1")
    await service.relayed()

    async with asynccontextmanager(dependency)(service.system) as uow:
        before = await orders()
        elsewhere = contextvars.Context()  # As another request, outside of this unit of work.
        await elsewhere.run(asyncio.get_running_loop().create_task, add_another())
        after = await orders()

    holds_still = dependency is snapshot_uow and isinstance(uow, SQLAlchemyUnitOfWork)
    assert (before, after) == ((1, 1) if holds_still else (1, 2))


async def test_a_relay_that_stops_with_the_service_leaves_the_rest_to_the_next(
    tmp_path: Path,
) -> None:
    async with serving(create_app(_on_sqlite(tmp_path))) as first:
        for number in range(5):
            await first.add_line(str(number))

    async with serving(create_app(_on_sqlite(tmp_path))) as second:
        await second.relayed()
        page = await second.client.get("/orders")

    assert len(page.json()["orders"]) == 5


async def test_the_description_of_the_service_names_the_problems(in_memory: Service) -> None:
    description = (await in_memory.client.get("/openapi.json")).json()

    operations = [each for path in description["paths"].values() for each in path.values()]
    assert len(operations) == 6
    for operation in operations:
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
        assert "422" not in operation["responses"]


async def test_a_server_makes_the_service_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", _on_sqlite(tmp_path).database_url)

    async with serving(from_environment()) as service:
        response = await service.client.get("/orders")

    assert response.json() == {"orders": [], "next": None}
