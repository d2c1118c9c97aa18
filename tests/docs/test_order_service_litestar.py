"""Tests of the order service with Litestar as a client uses it, on every back end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery
from litestar.testing import AsyncTestClient
from order_service_litestar import service as endpoints
from order_service_litestar.service import create_app
from order_system.application import AddLine
from order_system.composition import create_system
from order_system.domain import OrderLine
from order_system.settings import Settings

from cqrs_ddd_core import (
    Application,
    BusinessRuleError,
    StoredEvent,
    UnitOfWork,
    get_correlation_id,
    get_current_uow,
    get_tenant_id,
    request_context,
)
from cqrs_ddd_core.spi.inbox import get_inbox
from tests.databases import new_database
from tests.docs.blocks import ROOT

ORDER = {"customer_id": "ANNA", "country": "Sweden", "placed_at": "2026-01-02T00:00:00Z"}
LINE = {"id": "1", "product_id": "P", "product": "Tea", "quantity": 2, "unit_price": "3.50"}
SHIPMENT = {"shipped_at": "2026-01-05T00:00:00Z"}

Json = dict[str, Any]
T = TypeVar("T")


@dataclass
class Service:
    app: Litestar
    client: AsyncTestClient[Litestar]

    @property
    def application(self) -> Application:
        application: Application = self.app.state.system.app
        return application

    async def add_line(self, order_id: str = "1", **headers: str) -> httpx.Response:
        body = {**ORDER, "line": LINE}
        return await self.client.post(f"/orders/{order_id}/lines", json=body, headers=headers)

    def run(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Await an operation in the event loop of the service, which runs in a thread."""
        with self.client.portal() as portal:
            return portal.call(operation)

    def read_events(self, order_id: str = "1") -> list[StoredEvent]:
        return self.run(partial(self.application.backend.event_store.get_events, order_id))

    def is_registered(self, message_id: str) -> bool:
        """Return whether a transaction that has registered the message was committed."""

        async def register() -> bool:
            async with self.application.backend.unit_of_work() as uow:
                return await get_inbox(uow).register("test", message_id, "", uow) is not None

        return self.run(register)


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "memory":
        return Settings("", backend="memory")
    if request.param == "sqlite":
        return Settings(f"sqlite+aiosqlite:///{tmp_path}/orders.db")
    return Settings(new_database(request.getfixturevalue("postgres_url")))


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    app = create_app(settings)
    async with AsyncTestClient(app, raise_server_exceptions=False) as client:
        yield Service(app, client)


@pytest.fixture
async def in_memory() -> AsyncIterator[Service]:
    """Serve in memory, for tests that do not depend on the back end."""
    app = create_app(Settings("", backend="memory"))
    async with AsyncTestClient(app, raise_server_exceptions=False) as client:
        yield Service(app, client)


def get_problem(response: httpx.Response, status: int, name: str) -> Json:
    """Check the members that every problem must have, and return the body."""
    problem: Json = response.json()
    assert (response.status_code, problem["status"]) == (status, status), problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == (name if name == "about:blank" else f"/problems/{name}")
    assert problem["instance"] == response.request.url.raw_path.decode().partition("?")[0]
    assert problem["correlation_id"] == response.headers["x-correlation-id"]
    return problem


async def test_read_at_the_position_of_a_write_returns_the_write(service: Service) -> None:
    placed = await service.add_line()

    seen = {"Consistency-Position": placed.headers["Consistency-Position"]}
    page = await service.client.get("/orders", headers=seen)

    assert placed.status_code == 201
    assert [order["id"] for order in page.json()["orders"]] == ["1"]


async def test_order_list_is_read_page_by_page(service: Service) -> None:
    placed = [await service.add_line(order_id) for order_id in ("1", "2", "3")]
    seen = {"Consistency-Position": placed[-1].headers["Consistency-Position"]}

    page = (await service.client.get("/orders?limit=2", headers=seen)).json()
    rest = (await service.client.get(page["next"])).json()

    pages = [[order["id"] for order in each["orders"]] for each in (page, rest)]
    assert pages == [["1", "2"], ["3"]]
    assert rest["next"] is None


async def test_repeated_idempotency_key_gets_the_same_answer_and_one_effect(
    service: Service,
) -> None:
    key = {"Idempotency-Key": "4f1c"}

    first = await service.add_line(**key)
    again = await service.add_line(**key)
    other = await service.add_line("2", **key)

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    get_problem(other, 422, "key-in-use")
    assert len(service.read_events()) == 2


async def test_order_with_an_invalid_line_is_not_placed(service: Service) -> None:
    lines = [LINE, {**LINE, "id": "2", "quantity": 0}]

    rejected = await service.client.post("/orders", json={**ORDER, "order_id": "1", "lines": lines})

    get_problem(rejected, 409, "rejected")
    assert service.read_events() == []


async def test_placed_order_has_the_position_of_its_commit(service: Service) -> None:
    body = {**ORDER, "order_id": "1", "lines": [LINE, {**LINE, "id": "2"}]}

    placed = await service.client.post("/orders", json=body)

    end = service.run(service.application.backend.event_store.latest_position)
    assert (placed.status_code, placed.json()) == (201, {"order_id": "1"})
    assert placed.headers["Consistency-Position"] == str(end)


async def test_events_have_the_correlation_id_of_the_client(service: Service) -> None:
    await service.add_line()

    shipped = await service.client.post(
        "/orders/1/shipment", json=SHIPMENT, headers={"X-Correlation-ID": "checkout:17"}
    )

    assert shipped.headers["X-Correlation-ID"] == "checkout:17"
    assert service.read_events()[-1].correlation_id == "checkout:17"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"json": {**ORDER, "line": {**LINE, "quantity": "two"}}}, "body.line.quantity"),
        ({"json": {**ORDER, "line": LINE, "command_id": "c"}}, "body.command_id"),
        (
            {"json": {**ORDER, "line": LINE}, "headers": {"Idempotency-Key": "a b"}},
            "header.idempotency_key",
        ),
    ],
)
async def test_invalid_request_is_reported_field_by_field(
    in_memory: Service, given: Json, field: str
) -> None:
    problem = get_problem(await in_memory.client.post("/orders/1/lines", **given), 422, "invalid")

    assert list(problem["errors"]) == [field]


async def test_unreadable_request_is_answered_with_problem_details(in_memory: Service) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path, body, status in [
        ("POST", "/orders/1/lines", "{", 400),
        ("GET", "/nothing", "", 404),
        ("PUT", "/orders", "", 405),
    ]:
        answer = await in_memory.client.request(method, path, content=body, headers=headers)

        get_problem(answer, status, "about:blank")


async def test_order_list_that_does_not_reach_the_position_in_time_is_an_error(
    in_memory: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "POSITION_TIMEOUT", 0.01)

    answer = await in_memory.client.get("/orders", headers={"Consistency-Position": "99"})

    get_problem(answer, 503, "behind")
    assert answer.headers["Retry-After"] == "1"


async def test_internal_details_are_logged_and_not_sent_to_the_client(
    in_memory: Service, caplog: pytest.LogCaptureFixture
) -> None:
    @get("/broken")
    async def fail() -> None:
        raise RuntimeError("INSERT INTO orders failed on db-7.internal")

    in_memory.app.register(fail)

    answer = await in_memory.client.get("/broken")

    get_problem(answer, 500, "fault")
    assert "db-7" not in answer.text
    assert "db-7" in caplog.text


async def test_liveness_and_readiness_are_separate_endpoints(service: Service) -> None:
    alive = await service.client.get("/health/live")
    ready = await service.client.get("/health/ready")

    assert (alive.status_code, ready.status_code) == (200, 200)
    assert ready.json()["services"]["projections"]["state"] == "running"


async def test_application_that_is_not_open_is_alive_and_not_ready(in_memory: Service) -> None:
    in_memory.app.state.system = create_system(Settings("", backend="memory"))

    alive = await in_memory.client.get("/health/live")
    ready = await in_memory.client.get("/health/ready")

    assert (alive.status_code, ready.status_code) == (200, 503)
    assert ready.json()["is_ready"] is False


async def open_transaction(orders: NamedDependency[Application]) -> AsyncIterator[UnitOfWork]:
    async with orders.backend.unit_of_work() as uow:
        yield uow


async def enter_tenant(orders: NamedDependency[Application]) -> AsyncIterator[str]:
    with request_context(tenant_id="north"):
        yield "north"


def enter_tenant_sync() -> Iterator[str]:
    with request_context(tenant_id="north"):
        yield "north"


def read_correlation_id() -> str:
    return str(get_correlation_id())


def create_lines(order_id: str, *ids: str) -> list[AddLine]:
    lines = [OrderLine.model_validate({**LINE, "id": each}) for each in ids]
    return [AddLine.model_validate({**ORDER, "order_id": order_id, "line": line}) for line in lines]


async def test_single_generator_dependency_commits_before_the_response(service: Service) -> None:
    @post("/two-lines", dependencies={"uow": Provide(open_transaction)})
    async def add_two_lines(
        orders: NamedDependency[Application],
        uow: NamedDependency[UnitOfWork],
        quantity: FromQuery[int],
    ) -> str:
        assert get_current_uow() is uow
        for command in create_lines("1", "1", "2"):
            await orders.send(command)
        if not quantity:
            raise BusinessRuleError("no quantity")
        return "added"

    service.app.register(add_two_lines)

    rejected = await service.client.post("/two-lines?quantity=0")
    after_error = service.read_events()
    added = await service.client.post("/two-lines?quantity=1")

    get_problem(rejected, 409, "rejected")
    assert after_error == []
    assert (added.status_code, len(service.read_events())) == (201, 3)


async def test_two_generator_dependencies_end_with_the_outcome_of_the_handler(
    service: Service,
) -> None:
    both = {"uow": Provide(open_transaction), "tenant": Provide(enter_tenant)}

    @post("/messages/{name:str}", dependencies=both)
    async def register(
        uow: NamedDependency[UnitOfWork], tenant: NamedDependency[str], name: FromPath[str]
    ) -> str:
        await get_inbox(uow).register("test", name, "", uow)
        if name == "rejected":
            raise BusinessRuleError("rejected")
        return tenant

    service.app.register(register)

    kept = await service.client.post("/messages/kept")
    rejected = await service.client.post("/messages/rejected")

    assert (kept.status_code, kept.text) == (201, "north")
    get_problem(rejected, 409, "rejected")
    assert service.is_registered("kept")
    assert not service.is_registered("rejected")
    assert (get_tenant_id(), get_current_uow()) == (None, None)


async def test_command_does_not_join_the_unit_of_work_of_one_of_two_generator_dependencies(
    service: Service,
) -> None:
    both = {"uow": Provide(open_transaction), "tenant": Provide(enter_tenant)}

    @post("/line", dependencies=both)
    async def add_line(
        orders: NamedDependency[Application],
        uow: NamedDependency[UnitOfWork],
        tenant: NamedDependency[str],
    ) -> None:
        assert (get_current_uow(), get_tenant_id()) == (None, None)
        for command in create_lines("1", "1"):
            await orders.send(command)
        raise BusinessRuleError("rejected")

    service.app.register(add_line)

    get_problem(await service.client.post("/line"), 409, "rejected")
    assert len(service.read_events()) == 2


async def test_sync_dependencies_see_the_correlation_id_in_the_task_and_in_a_thread(
    in_memory: Service,
) -> None:
    @get(
        "/ids",
        dependencies={
            "in_thread": Provide(read_correlation_id, sync_to_thread=True),
            "in_task": Provide(read_correlation_id, sync_to_thread=False),
        },
    )
    async def get_ids(in_thread: NamedDependency[str], in_task: NamedDependency[str]) -> list[str]:
        return [in_thread, in_task]

    in_memory.app.register(get_ids)

    answer = await in_memory.client.get("/ids", headers={"X-Correlation-ID": "checkout:17"})

    assert answer.json() == ["checkout:17", "checkout:17"]


async def test_sync_generator_dependency_enters_the_context_of_the_handler(
    in_memory: Service,
) -> None:
    @get("/tenant", dependencies={"tenant": Provide(enter_tenant_sync)})
    async def read_tenant(tenant: NamedDependency[str]) -> Response[str]:
        return Response(str(get_tenant_id()))

    in_memory.app.register(read_tenant)

    assert (await in_memory.client.get("/tenant")).text == "north"
    assert get_tenant_id() is None


def test_code_quoted_on_the_page_is_in_the_example() -> None:
    page = (ROOT / "docs/guides/litestar.md").read_text("utf-8")
    modules = (ROOT / "docs/examples/order_service_litestar").glob("*.py")
    source = "".join(module.read_text("utf-8") for module in modules)

    quotes = re.findall(r"^<!-- skip: next -->\n+```python\n(.+?)```", page, re.M | re.S)

    assert quotes
    for quote in quotes:
        assert quote in source
