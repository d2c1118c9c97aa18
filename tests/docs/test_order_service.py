"""Tests of the order service as a client uses it, on every back end."""

from __future__ import annotations

import asyncio
import contextvars
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from order_service import answers
from order_service import service as endpoints
from order_service.answers import ANSWERS
from order_service.bodies import NewLine
from order_service.problems import answer_to
from order_service.service import create_app, from_environment, open_transaction, snapshot_uow
from order_system import composition
from order_system.application import AddLine
from order_system.composition import System
from order_system.sales import ListOrders
from order_system.settings import Settings

from cqrs_ddd_advanced_core import Projections
from cqrs_ddd_core import (
    Application,
    ContextFilter,
    CQRSDDDError,
    InMemoryBackend,
    OutageLog,
    StoredEvent,
    UnitOfWork,
    get_correlation_id,
)
from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryUnitOfWork
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import IEventLog, get_current_uow
from cqrs_ddd_core.ports.event_store import IEventStoreProvider
from cqrs_ddd_core.primitives.exceptions import (
    BusinessRuleError,
    CommandTimeoutError,
    CommitOutcomeUnknownError,
    ErrorClass,
    InvariantViolationError,
    LockAcquisitionError,
    OptimisticConcurrencyError,
    PersistenceError,
    ValidationError,
    classify_error,
)
from cqrs_ddd_core.spi.inbox import get_inbox
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

    @property
    def orders(self) -> Application:
        return self.system.app

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
        async with self.orders.backend.unit_of_work() as uow:
            return await self.log_of(uow).get_events(order_id)

    @staticmethod
    def log_of(uow: UnitOfWork) -> IEventLog:
        carrier: object = uow
        assert isinstance(carrier, IEventStoreProvider)
        assert isinstance(carrier.event_store, IEventLog)
        return carrier.event_store

    async def wait_until_processed(self) -> None:
        """Wait until the outbox is relayed and the order list includes all events."""
        for _ in range(500):
            if not await self.orders.backend.outbox.get_pending(limit=1):
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the relay leaves messages in the outbox")
        end = await self.orders.backend.event_store.latest_position()
        await self.orders.wait_for(end, timeout=10)

    async def stop_working(self) -> None:
        """Stop the background services, so that only requests run."""
        for each in self.orders.services.values():
            await each.stop()

    async def revenue(self, day: str = "2026-01-02") -> Decimal:
        return Decimal((await self.client.get(f"/revenue/{day}")).json()["revenue"])

    def break_with(self, error: Exception) -> None:
        """Add an endpoint that raises the error."""

        async def fail() -> None:
            raise error

        self.app.add_api_route("/broken", fail)


@asynccontextmanager
async def serve(app: FastAPI) -> AsyncIterator[Service]:
    # A server answers with 500 and logs the error, so the transport does not raise it again.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://orders.test") as client,
    ):
        yield Service(app, client)


@pytest.fixture(autouse=True)
def _poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the poll interval of relay and worker, which would dominate the run time."""

    def with_short_interval(kind: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: kind(*arguments, **{**options, "poll_interval": 0.02})

    for kind in (OutboxRelay, Projections):
        monkeypatch.setattr(composition, kind.__name__, with_short_interval(kind))


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "memory":
        return Settings("", backend="memory")
    if request.param == "sqlite":
        return _sqlite_settings(tmp_path)
    return Settings(new_database(request.getfixturevalue("postgres_url")))


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serve(create_app(settings)) as service:
        yield service


@pytest.fixture
async def in_memory() -> AsyncIterator[Service]:
    """Serve in memory, for tests that do not depend on the back end."""
    async with serve(create_app(Settings("", backend="memory"))) as service:
        yield service


def _sqlite_settings(folder: Path, **changed: Any) -> Settings:
    return Settings(f"sqlite+aiosqlite:///{folder}/orders.db", **changed)


def _get_problem(response: httpx.Response, status: int, name: str) -> Json:
    """Check the members that every problem must have, and return the body."""
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


TOOLKIT_ERRORS = sorted(
    {
        kind
        for kind in _with_subclasses(CQRSDDDError)
        if kind.__module__.startswith("cqrs_ddd_core.primitives.exceptions.")
    },
    key=lambda kind: kind.__name__,
)


async def test_first_line_places_an_order_that_is_listed_and_reported(service: Service) -> None:
    added = await service.add_line()
    shipped = await service.ship()
    await service.wait_until_processed()
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


async def test_second_request_for_a_line_is_answered_with_a_duplicate_result(
    service: Service,
) -> None:
    await service.add_line()

    again = await service.add_line()

    assert (again.status_code, again.json()["result"]) == (200, "duplicate")


async def test_repeated_idempotency_key_gets_the_same_answer_and_one_effect(
    service: Service,
) -> None:
    first = await service.add_line(key="k-1")
    again = await service.add_line(key="k-1")

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert [event.event_type for event in await service.events()] == ["OrderPlaced", "LineAdded"]


async def test_concurrent_requests_with_one_idempotency_key_have_one_effect(
    service: Service,
) -> None:
    answers = await asyncio.gather(*(service.add_line(key="k-1") for _ in range(4)))

    assert {(answer.status_code, answer.text) for answer in answers} == {
        (201, '{"order_id":"1","line_id":"1","result":"added"}')
    }
    assert len(await service.events()) == 2


async def test_idempotency_key_with_another_content_is_rejected(service: Service) -> None:
    await service.add_line(key="k-1")

    another_line = await service.add_line(key="k-1", line={"quantity": 3})
    another_endpoint = await service.ship(**{"Idempotency-Key": "k-1"})

    _get_problem(another_line, 422, "key-in-use")
    _get_problem(another_endpoint, 422, "key-in-use")
    assert len(await service.events()) == 2


async def test_idempotency_key_of_a_failed_request_can_be_reused(service: Service) -> None:
    rejected = await service.ship(**{"Idempotency-Key": "k-1"})
    await service.add_line()

    again = await service.ship(**{"Idempotency-Key": "k-1"})

    _get_problem(rejected, 404, "not-found")
    assert again.status_code == 200


@pytest.mark.parametrize("key", ["", "two words", "a" * 101])
async def test_invalid_idempotency_key_is_rejected(in_memory: Service, key: str) -> None:
    response = await in_memory.ship(**{"Idempotency-Key": key})

    assert list(_get_problem(response, 422, "invalid")["errors"]) == ["header.idempotency-key"]


async def test_order_is_placed_with_all_its_lines(service: Service) -> None:
    response = await service.place_order("1", {"id": "1"}, {"id": "2"})

    assert (response.status_code, response.json()) == (201, {"order_id": "1"})
    types = [event.event_type for event in await service.events()]
    assert types == ["OrderPlaced", "LineAdded", "LineAdded"]


async def test_order_with_an_invalid_line_is_not_placed(service: Service) -> None:
    rejected = await service.place_order("1", {"id": "1"}, {"id": "2", "quantity": 0}, key="k-1")

    assert "the quantity is 0" in _get_problem(rejected, 409, "rejected")["detail"]
    assert await service.events() == []
    assert (await service.place_order("1", {"id": "1"}, key="k-1")).status_code == 201


async def test_order_with_a_repeated_idempotency_key_is_not_placed_twice(service: Service) -> None:
    first = await service.place_order("1", {"id": "1"}, key="k-1")
    again = await service.place_order("1", {"id": "1"}, key="k-1")
    other = await service.place_order("1", {"id": "1"}, {"id": "2"}, key="k-1")

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    _get_problem(other, 422, "key-in-use")
    assert len(await service.events()) == 2


async def test_order_list_is_read_page_by_page(service: Service) -> None:
    for number in range(5):
        await service.add_line(f"n-{number}&")
    await service.wait_until_processed()
    pages, following = [], "/orders?limit=2"

    while following:
        page = (await service.client.get(following)).json()
        pages.append([order["id"] for order in page["orders"]])
        following = page["next"]

    assert pages == [["n-0&", "n-1&"], ["n-2&", "n-3&"], ["n-4&"]]


async def test_request_for_the_page_after_an_unknown_order_gets_status_404(
    service: Service,
) -> None:
    response = await service.client.get("/orders?after=none")

    assert (
        _get_problem(response, 404, "not-found")["detail"] == "there is no order none in the list"
    )


async def test_response_has_a_consistency_position_only_if_events_were_stored(
    service: Service,
) -> None:
    first = await service.add_line(key="k-1")
    second = await service.ship()
    nothing_new = await service.add_line(key="k-1")

    position = int(second.headers["consistency-position"])
    assert position > int(first.headers["consistency-position"])
    assert "consistency-position" not in nothing_new.headers
    async with service.orders.backend.unit_of_work() as uow:
        assert await service.log_of(uow).wait_for(position, timeout=1)
        assert not await service.log_of(uow).wait_for(position + 1, timeout=0.01)


async def test_read_at_the_position_of_a_write_returns_the_write(service: Service) -> None:
    for number in range(5):
        written = await service.add_line(str(number))

        position = {"Consistency-Position": written.headers["consistency-position"]}
        page = await service.client.get("/orders", headers=position)

        assert str(number) in [order["id"] for order in page.json()["orders"]]


async def test_order_list_that_does_not_reach_the_position_in_time_is_an_error(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "POSITION_TIMEOUT", 0.05)
    await service.wait_until_processed()
    await service.stop_working()
    written = await service.add_line()
    position = {"Consistency-Position": written.headers["consistency-position"]}

    behind = await service.client.get("/orders", headers=position)
    stale = await service.client.get("/orders")
    await service.system.projections.create_worker().drain()
    there = await service.client.get("/orders", headers=position)

    assert "is stored" in _get_problem(behind, 503, "behind")["detail"]
    assert behind.headers["retry-after"] == "1"
    assert (stale.status_code, stale.json()["orders"]) == (200, [])
    assert [order["id"] for order in there.json()["orders"]] == ["1"]


@pytest.mark.parametrize("position", ["-1", "x", "1.5", str(2**63)])
async def test_invalid_consistency_position_is_rejected(in_memory: Service, position: str) -> None:
    response = await in_memory.client.get("/orders", headers={"Consistency-Position": position})

    assert list(_get_problem(response, 422, "invalid")["errors"]) == ["header.Consistency-Position"]


async def test_revenue_of_a_day_includes_every_request_that_got_a_response(
    service: Service,
) -> None:
    await service.stop_working()
    await service.add_line("1")
    await service.place_order("2", {"id": "1"}, {"id": "2", "quantity": 3})

    assert await service.revenue() == 7 + 7 + Decimal("10.5")
    assert await service.revenue("2026-01-03") == 0


async def test_concurrent_sales_of_one_day_are_all_counted(service: Service) -> None:
    answers = await asyncio.gather(*(service.add_line(str(number)) for number in range(8)))

    assert {answer.status_code for answer in answers} == {201}
    assert await service.revenue() == 8 * 7


async def test_events_have_the_correlation_id_of_the_client(
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


@pytest.mark.parametrize("correlation_id", [None, "", "a b", "a\tb", "é", "a" * 101, "{}"])
async def test_invalid_correlation_id_is_replaced(
    in_memory: Service, correlation_id: str | None
) -> None:
    headers = {} if correlation_id is None else {b"X-Correlation-ID": correlation_id.encode()}

    response = await in_memory.client.get("/orders", headers=headers)

    assert re.fullmatch("[0-9a-f-]{36}", response.headers["x-correlation-id"])


async def test_concurrent_requests_keep_their_own_correlation_ids(service: Service) -> None:
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
async def test_invalid_request_body_is_reported_field_by_field(
    in_memory: Service, path: str, body: Json, field: str
) -> None:
    response = await in_memory.client.post(path, json=body)

    problem = _get_problem(response, 422, "invalid")
    assert list(problem["errors"]) == [field]
    assert "order_service" not in response.text


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"\\ud800": 1}', b'{"customer_id": "\\ud800"}', b"[]", b""]
)
async def test_unreadable_request_body_is_answered_with_problem_details(
    in_memory: Service, body: bytes
) -> None:
    response = await in_memory.client.post(
        "/orders/1/lines", content=body, headers={"Content-Type": "application/json"}
    )

    assert response.status_code in (400, 422)
    assert response.json()["instance"] == "/orders/1/lines"
    assert response.headers["content-type"] == "application/problem+json"


async def test_unknown_path_or_method_is_answered_with_problem_details(in_memory: Service) -> None:
    missing = await in_memory.client.get("/none/%C3%A9")
    wrong = await in_memory.client.delete("/sales")

    _get_problem(missing, 404, "about:blank")
    _get_problem(wrong, 405, "about:blank")
    assert wrong.headers["allow"] == "GET"


async def test_validation_errors_of_the_application_are_reported_by_field(
    in_memory: Service,
) -> None:
    in_memory.break_with(ValidationError("two findings", errors={"city": ["unknown"]}))

    problem = _get_problem(await in_memory.client.get("/broken"), 422, "invalid")

    assert problem["detail"] == "two findings"
    assert problem["errors"] == {"city": ["unknown"]}


@pytest.mark.parametrize("kind", [BusinessRuleError, InvariantViolationError])
async def test_message_of_a_violated_business_rule_is_sent_to_the_client(
    in_memory: Service, kind: type[CQRSDDDError]
) -> None:
    in_memory.break_with(kind("order 1 was shipped"))

    problem = _get_problem(await in_memory.client.get("/broken"), 409, "rejected")

    assert problem["detail"] == "order 1 was shipped"


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (OptimisticConcurrencyError(SECRET), 409, "conflict"),
        (LockAcquisitionError(SECRET), 503, "busy"),
        (CommandTimeoutError(SECRET), 503, "busy"),
        (PersistenceError(SECRET), 503, "unavailable"),
        (CommitOutcomeUnknownError(SECRET), 503, "outcome-unknown"),
        (CQRSDDDError(SECRET), 500, "fault"),
        (RuntimeError(SECRET), 500, "fault"),
    ],
)
async def test_internal_details_are_logged_and_not_sent_to_the_client(
    in_memory: Service,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    name: str,
) -> None:
    monkeypatch.setattr(answers, "outages", OutageLog(answers.logger))
    in_memory.break_with(error)
    caplog.handler.addFilter(ContextFilter())

    response = await in_memory.client.get("/broken", headers={"X-Correlation-ID": "r-1"})

    assert "internal" not in _get_problem(response, status, name)["detail"]
    assert SECRET not in response.text
    assert response.headers["x-correlation-id"] == "r-1"
    assert ("Retry-After" in response.headers) is (status == 503)
    logged = [each for each in caplog.records if each.name == "order_service.answers"]
    assert len(logged) == (status >= 500)
    for record in logged:
        # Only the texts of errors of the toolkit are logged, since others may hold values.
        assert type(error).__name__ in record.getMessage()
        assert bool(record.exc_info) is (status == 500)
        assert vars(record)["correlation_id"] == "r-1"


@pytest.mark.parametrize("kind", TOOLKIT_ERRORS, ids=lambda kind: kind.__name__)
def test_only_responses_to_transient_errors_ask_the_client_to_retry(
    kind: type[CQRSDDDError],
) -> None:
    error = kind("it failed")

    answer = answer_to(error)

    if classify_error(error) is ErrorClass.TRANSIENT and kind is not CQRSDDDError:
        assert answer.status in (409, 503)
    else:
        assert answer.status != 503
    assert ("Retry-After" in answer.headers) is (answer.status == 503)


def test_code_quoted_on_the_page_is_in_the_example() -> None:
    modules = (ROOT / "docs/examples/order_service").glob("*.py")
    source = "".join(module.read_text("utf-8") for module in modules)

    quotes = re.findall(r"^<!-- skip: next -->\n+```python\n(.+?)```", PAGE, re.M | re.S)

    assert quotes
    for quote in quotes:
        assert quote in source


def test_page_shows_the_status_and_type_of_every_error() -> None:
    rows = re.findall(r"^\| (`.+?) \| (\d+) \|.*\| `/problems/([\w-]+)` \|$", PAGE, re.M)

    listed = {
        name: (int(status), f"/problems/{kind}")
        for names, status, kind in rows
        for name in re.findall(r"`(\w+)`", names)
    }

    assert listed == {
        kind.__name__: (answer.status, answer.type) for kind, answer in ANSWERS.items()
    }


async def test_response_for_a_locked_database_asks_to_retry_and_hides_internal_details(
    tmp_path: Path,
) -> None:
    async with serve(create_app(_sqlite_settings(tmp_path, busy_seconds=0.1))) as service:
        await service.add_line()
        await service.wait_until_processed()
        # The next statement blocks the event loop, which would never end their transactions.
        await service.stop_working()
        blocker = sqlite3.connect(tmp_path / "orders.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")

        rejected = await service.ship(**{"Idempotency-Key": "k-1"})
        blocker.close()
        again = await service.ship(**{"Idempotency-Key": "k-1"})

    problem = _get_problem(rejected, 503, "unavailable")
    assert not re.search("lock|sqlite|orders.db|INSERT", problem["detail"] + problem["title"])
    assert rejected.headers["retry-after"] == "1"
    assert again.status_code == 200


async def test_response_for_a_lost_server_asks_to_retry_and_hides_internal_details(
    postgres_url: str,
) -> None:
    url = await asyncio.to_thread(new_database, postgres_url)
    name = url.rpartition("/")[2]
    gone = [
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    ]
    async with serve(create_app(Settings(url))) as service:
        await service.add_line()
        await service.wait_until_processed()
        await _execute(postgres_url, *gone)

        rejected = [await service.ship(), await service.client.get("/orders")]
        await _execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        again = await service.ship()

    for response in rejected:
        problem = _get_problem(response, 503, "unavailable")
        assert name not in response.text
        assert "connect" not in problem["detail"]
    assert again.status_code == 200


async def test_request_that_the_server_cancels_gets_a_problem_with_its_correlation_id(
    in_memory: Service,
) -> None:
    sent: list[Any] = []
    is_running = asyncio.Event()

    async def hang() -> None:
        is_running.set()
        await asyncio.Event().wait()

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    in_memory.app.add_api_route("/hanging", hang)
    headers = [(b"x-correlation-id", b"r-1")]
    scope = {"type": "http", "method": "GET", "path": "/hanging", "headers": headers}
    request = asyncio.ensure_future(in_memory.app({**scope, "query_string": b""}, receive, send))
    await is_running.wait()
    request.cancel()
    await asyncio.wait({request})

    start, body = sent
    response = httpx.Response(
        start["status"],
        headers=start["headers"],
        content=body["body"],
        request=httpx.Request("GET", "http://orders.test/hanging"),
    )
    _get_problem(response, 503, "outcome-unknown")
    assert request.cancelled()
    assert (response.headers["x-correlation-id"], response.headers["retry-after"]) == ("r-1", "1")


async def test_outage_of_the_database_does_not_fill_the_log(
    postgres_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "outages", OutageLog(answers.logger, clock=FakeClock()))
    url = await asyncio.to_thread(new_database, postgres_url)
    name = url.rpartition("/")[2]
    gone = [
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    ]
    async with serve(create_app(Settings(url, services=False))) as service:
        await service.add_line()
        await _execute(postgres_url, *gone)
        caplog.clear()

        rejected = [await service.ship() for _ in range(20)]
        rejected += [await service.client.get("/orders") for _ in range(20)]

    assert {response.status_code for response in rejected} == {503}
    # A line of the application and one of the service, for each of two classes of errors.
    assert 1 <= len(caplog.records) <= 4
    assert not [each for each in caplog.records if each.exc_info or "\n" in each.getMessage()]


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class FailingCommit(InMemoryUnitOfWork):
    async def commit(self) -> None:
        raise PersistenceError(SECRET)


class FailingBackend(InMemoryBackend):
    has_failed = False

    def unit_of_work(self, *, read_only: bool = False) -> InMemoryUnitOfWork:
        uow = super().unit_of_work(read_only=read_only)
        if not self.has_failed:
            return uow
        return FailingCommit(uow.event_store, uow.outbox, uow.inbox, projections=uow.projections)


@pytest.fixture
async def failing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """Serve on a backend whose commits fail after the start."""
    monkeypatch.setattr(composition, "InMemoryBackend", FailingBackend)
    async with serve(create_app(Settings("", backend="memory"))) as service:
        await service.stop_working()
        assert isinstance(service.orders.backend, FailingBackend)
        service.orders.backend.has_failed = True
        yield service


async def test_failed_commit_is_answered_with_an_error(failing: Service) -> None:
    response = await failing.place_order("1", {"id": "1"})

    _get_problem(response, 503, "unavailable")


async def test_commit_check_catches_a_dependency_that_commits_after_the_response(
    failing: Service,
) -> None:
    """Show why `UowDep` has the scope; if this test fails, FastAPI has changed."""

    async def change(uow: Annotated[UnitOfWork, Depends(open_transaction)]) -> None:
        pass

    failing.app.add_api_route("/changes", change, methods=["POST"])

    response = await failing.client.post("/changes")

    assert response.status_code == 200


@pytest.mark.parametrize(
    "is_transaction", [False, True], ids=["a command", "a transaction of the endpoint"]
)
async def test_cancelled_request_stores_all_events_or_none(
    service: Service, is_transaction: bool
) -> None:
    await service.stop_working()  # The sweep watches for tasks that are left over.
    keys: list[str] = []
    found: Counter[int] = Counter()

    async def send(key: str) -> httpx.Response:
        if is_transaction:
            return await service.place_order(f"order-{key}", {"id": "1"}, key=key)
        return await service.add_line(f"order-{key}", key=key)

    async def send_new() -> None:
        keys.append(f"k-{len(keys)}")
        await send(keys[-1])

    async def check() -> None:
        stored = await service.events(f"order-{keys[-1]}")
        found[len(stored)] += 1
        again = await send(keys[-1])
        assert again.status_code == 201
        assert len(await service.events(f"order-{keys[-1]}")) == 2

    suspensions = await cancel_sweep(send_new, check)

    assert suspensions > 5
    assert set(found) == {0, 2}
    messages = await service.orders.backend.outbox.get_pending(limit=1000)
    assert len(messages) == 2 * len(keys)
    assert await service.revenue() == 7 * len(keys)


async def test_cancelled_report_releases_its_connection(
    service: Service,
) -> None:
    await service.add_line()
    await service.wait_until_processed()
    await service.stop_working()

    async def ask() -> None:
        await service.client.get("/sales")

    async def check() -> None:
        assert (await service.client.get("/sales")).json()["totals"]["customers"] == 1
        assert (await service.add_line("2")).status_code in (200, 201)

    assert await cancel_sweep(ask, check) > 2


@pytest.mark.parametrize("dependency", [open_transaction, snapshot_uow])
async def test_snapshot_unit_of_work_reads_one_state_of_the_database(
    service: Service, dependency: Callable[[Application], AsyncIterator[UnitOfWork]]
) -> None:
    async def count_orders() -> int:
        return len((await service.orders.query(ListOrders())).result)

    async def add_another() -> None:
        await service.add_line("2")
        await service.wait_until_processed()

    await service.add_line("1")
    await service.wait_until_processed()

    async with asynccontextmanager(dependency)(service.orders) as uow:
        before = await count_orders()
        other_request = contextvars.Context()  # Has no current unit of work.
        await other_request.run(asyncio.get_running_loop().create_task, add_another())
        after = await count_orders()

    is_repeatable = dependency is snapshot_uow and isinstance(uow, SQLAlchemyUnitOfWork)
    assert (before, after) == ((1, 1) if is_repeatable else (1, 2))


async def test_messages_left_by_a_stopped_service_are_relayed_by_the_next(
    tmp_path: Path,
) -> None:
    async with serve(create_app(_sqlite_settings(tmp_path))) as first:
        for number in range(5):
            await first.add_line(str(number))

    async with serve(create_app(_sqlite_settings(tmp_path))) as second:
        await second.wait_until_processed()
        page = await second.client.get("/orders")

    assert len(page.json()["orders"]) == 5


async def test_health_endpoints_answer_while_the_service_is_open(service: Service) -> None:
    alive = await service.client.get("/health/live")
    ready = await service.client.get("/health/ready")

    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    health = ready.json()
    assert (ready.status_code, health["is_ready"], health["error_type"]) == (200, True, None)
    assert {"outbox relay", "projections"} <= set(health["services"])


async def test_service_with_a_lost_database_is_alive_but_not_ready(postgres_url: str) -> None:
    url = await asyncio.to_thread(new_database, postgres_url)
    name = url.rpartition("/")[2]
    async with serve(create_app(Settings(url))) as service:
        await _execute(
            postgres_url,
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

        alive = await service.client.get("/health/live")
        lost = await service.client.get("/health/ready")
        await _execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        again = await service.client.get("/health/ready")

    assert alive.status_code == 200
    assert (lost.status_code, lost.json()["is_ready"]) == (503, False)
    assert lost.json()["error_type"]
    assert name not in lost.text
    assert again.status_code == 200


def test_service_runs_in_the_test_client_of_starlette_and_can_be_opened_again(
    settings: Settings,
) -> None:
    app = create_app(settings)

    for number in range(2):
        with TestClient(app) as client:
            added = client.post(f"/orders/{number}/lines", json={**ORDER, "line": LINE})
            position = {"Consistency-Position": added.headers["consistency-position"]}
            page = client.get("/orders", headers=position)

            assert [order["id"] for order in page.json()["orders"]] == ["0", "1"][: number + 1]
            assert client.get("/health/ready").status_code == 200


async def open_audit(request: Request, orders: endpoints.OrdersDep) -> AsyncIterator[UnitOfWork]:
    """Open a second unit of work, and note how it ends."""
    steps: list[str] = request.app.state.steps
    try:
        async with orders.backend.unit_of_work() as uow:
            yield uow
        steps.append("audit committed")
    except BaseException:
        steps.append("audit rolled back")
        raise


async def audit_order(
    request: Request,
    uow: endpoints.UowDep,
    audit: Annotated[UnitOfWork, Depends(open_audit, scope="function")],
    is_failing: bool = False,
) -> None:
    async def note_commit() -> None:
        request.app.state.steps.append("order committed")

    assert get_current_uow() is audit
    uow.on_commit(note_commit)
    # The other unit of work only reads, because SQLite has one writer at a time.
    await Service.log_of(uow).get_events("1")
    registered = await get_inbox(audit).register("audit", "a-1", "fingerprint", audit)
    assert registered is None, "an earlier audit was not rolled back"
    if is_failing:
        raise BusinessRuleError("the audit fails")


@pytest.fixture
def steps(service: Service) -> list[str]:
    """Add an endpoint with two units of work, and return the notes about their ends."""
    service.app.add_api_route("/audits", audit_order, methods=["POST"])
    service.app.state.steps = steps = list[str]()
    return steps


async def test_two_generator_dependencies_end_in_reverse_order(
    service: Service, steps: list[str]
) -> None:
    response = await service.client.post("/audits")

    assert response.status_code == 200, response.text
    assert steps == ["audit committed", "order committed"]
    assert get_current_uow() is None


async def test_error_rolls_back_the_units_of_work_of_both_generator_dependencies(
    service: Service, steps: list[str]
) -> None:
    failed = await service.client.post("/audits?is_failing=true")
    assert steps == ["audit rolled back"]
    again = await service.client.post("/audits")

    _get_problem(failed, 409, "rejected")
    assert again.status_code == 200
    assert steps == ["audit rolled back", "audit committed", "order committed"]
    assert (await service.add_line()).status_code == 201


def read_correlation_id() -> str | None:
    return get_correlation_id()


def observe_uow(uow: endpoints.UowDep) -> Iterator[bool]:
    yield get_current_uow() is uow
    # The end runs in a thread as well, while the unit of work is still open.
    assert get_correlation_id() == "r-1"
    assert get_current_uow() is uow


async def add_with_sync_dependencies(
    correlation_id: Annotated[str, Depends(read_correlation_id)],
    is_current: Annotated[bool, Depends(observe_uow, scope="function")],
    uow: endpoints.UowDep,
    orders: endpoints.OrdersDep,
) -> list[Any]:
    body = NewLine.model_validate({**ORDER, "line": LINE})
    await orders.send(AddLine(order_id="1", **dict(body)))
    return [correlation_id, is_current, get_current_uow() is uow]


async def test_sync_dependencies_in_threads_see_the_context_of_the_request(
    service: Service,
) -> None:
    service.app.add_api_route("/sync", add_with_sync_dependencies, methods=["POST"])

    response = await service.client.post("/sync", headers={"X-Correlation-ID": "r-1"})

    assert (response.status_code, response.json()) == (200, ["r-1", True, True])
    assert [each.correlation_id for each in await service.events()] == ["r-1", "r-1"]
    assert get_current_uow() is None


async def test_openapi_description_names_problem_responses_for_every_operation(
    in_memory: Service,
) -> None:
    description = (await in_memory.client.get("/openapi.json")).json()

    operations = [each for path in description["paths"].values() for each in path.values()]
    assert len(operations) == 8
    for operation in operations:
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
        assert "422" not in operation["responses"]


async def test_service_is_created_from_environment_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", _sqlite_settings(tmp_path).database_url)

    async with serve(from_environment()) as service:
        response = await service.client.get("/orders")

    assert response.json() == {"orders": [], "next": None}
