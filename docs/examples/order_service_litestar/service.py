"""HTTP endpoints: ``uvicorn --factory order_service_litestar.service:from_environment``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import uuid4

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter
from order_service.bodies import LineAnswer, NewLine, NewOrder, OrderAnswer, Page, Shipment
from order_service.correlation import CorrelationMiddleware
from order_system.application import AddLine, ShipOrder
from order_system.composition import create_system
from order_system.sales import ListOrders
from order_system.settings import Settings

from cqrs_ddd_core import Application
from cqrs_ddd_core.spi.inbox import compute_fingerprint, get_inbox

from .problems import answer_error

POSITION = "Consistency-Position"
POSITION_TIMEOUT = 2.0
"""Seconds to wait until the order list reaches the requested position."""

Orders = NamedDependency[Application]
CommandId = NamedDependency[str]


def create_app(settings: Settings) -> Litestar:
    system = create_system(settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with system.app.open(services=settings.services):
            yield

    return Litestar(
        [add_line, ship, place_order, list_orders, live, ready],
        lifespan=[lifespan],
        state=State({"system": system}),
        middleware=[CorrelationMiddleware],
        dependencies={
            "orders": Provide(provide_orders, sync_to_thread=False),
            # Not "command_id": an invalid member of a body with the name of a dependency is a 500.
            "message_id": Provide(provide_command_id, sync_to_thread=False),
        },
        exception_handlers={Exception: answer_error},
        # The program configures logging; Litestar would log internal errors a second time.
        logging_config=None,
    )


def from_environment() -> Litestar:
    """Create the service; raise ``ConfigError`` for an invalid environment variable."""
    return create_app(Settings.from_env())


def provide_orders(state: State) -> Application:
    """Return the application that handles the messages."""
    orders: Application = state.system.app
    return orders


def provide_command_id(
    idempotency_key: Annotated[
        str | None, HeaderParameter(name="Idempotency-Key", pattern="^[!-~]{1,100}$")
    ] = None,
) -> str:
    """Return the ``Idempotency-Key`` of the request, or a new id."""
    return idempotency_key or str(uuid4())


async def wait_for_position(
    orders: Orders,
    position: Annotated[int | None, HeaderParameter(name=POSITION, ge=0, le=2**63 - 1)] = None,
) -> None:
    """Wait until the order list has reached the position; otherwise the response is a 503."""
    await orders.wait_for(position, timeout=POSITION_TIMEOUT)


@post("/orders/{order_id:str}/lines")
async def add_line(
    order_id: FromPath[str], data: JSONBody[NewLine], message_id: CommandId, orders: Orders
) -> Response[LineAnswer]:
    """Add a line, and place the order with its first line."""
    command = AddLine(command_id=message_id, order_id=order_id, **dict(data))
    added = await orders.send(command)
    answer = LineAnswer(order_id=order_id, line_id=data.line.id, result=added.result)
    status = 200 if added.result == "duplicate" else 201
    return Response(answer, status_code=status, headers=_build_headers(added.position))


@post("/orders/{order_id:str}/shipment", status_code=200)
async def ship(
    order_id: FromPath[str], data: JSONBody[Shipment], message_id: CommandId, orders: Orders
) -> Response[OrderAnswer]:
    """Ship an order."""
    command = ShipOrder(command_id=message_id, order_id=order_id, shipped_at=data.shipped_at)
    shipped = await orders.send(command)
    return Response(OrderAnswer(order_id=shipped.result), headers=_build_headers(shipped.position))


@post("/orders")
async def place_order(
    data: JSONBody[NewOrder], message_id: CommandId, orders: Orders
) -> Response[OrderAnswer]:
    """Place an order with all its lines or none; each command joins the open unit of work."""
    # Not in a dependency: Litestar may resolve that in another task, which no command would join.
    async with orders.backend.unit_of_work() as uow:
        fingerprint = compute_fingerprint(data)
        if await get_inbox(uow).register("orders", message_id, fingerprint, uow) is None:
            order = dict(data)
            for line in order.pop("lines"):
                await orders.send(AddLine(line=line, **order))
    position = uow.committed_position
    return Response(OrderAnswer(order_id=data.order_id), headers=_build_headers(position))


@get("/orders", dependencies={"at_position": Provide(wait_for_position)})
async def list_orders(
    orders: Orders,
    request: Request[Any, Any, Any],
    at_position: NamedDependency[None],
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
) -> Page:
    """Return a page of the order list."""
    # One order more than requested shows if there is a next page.
    found = (await orders.query(ListOrders(after=after, limit=limit + 1))).result
    following = None
    if len(found) > limit:
        found = found[:limit]
        following = f"{request.url.path}?{urlencode({'after': found[-1].id, 'limit': limit})}"
    return Page.model_validate({"orders": found, "next": following})


@get("/health/live")
async def live() -> dict[str, str]:
    """Answer, to show that the process runs; a supervisor restarts a process without an answer."""
    return {"status": "alive"}


@get("/health/ready")
async def ready(orders: Orders) -> Response[dict[str, Any]]:
    """Return the health, with status 503 if the service cannot handle requests."""
    health = await orders.health()
    return Response(health.to_json(), status_code=200 if health.is_ready else 503)


def _build_headers(position: int | None) -> dict[str, str]:
    return {} if position is None else {POSITION: str(position)}
