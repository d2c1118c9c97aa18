"""HTTP endpoints for orders: ``uvicorn --factory order_service.service:from_environment``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated
from urllib.parse import urlencode
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from order_system.application import AddLine, ShipOrder
from order_system.composition import create_system
from order_system.domain import Text
from order_system.projections import Day
from order_system.sales import GetDay, GetSalesReport, ListOrders
from order_system.settings import Settings

from cqrs_ddd_core import Application, UnitOfWork
from cqrs_ddd_core.spi.inbox import compute_fingerprint, get_inbox

from . import problems
from .bodies import LineAnswer, NewLine, NewOrder, OrderAnswer, Page, Sales, Shipment
from .correlation import CorrelationMiddleware
from .snapshot import repeatable_read

POSITION = "Consistency-Position"
POSITION_TIMEOUT = 2.0
"""Seconds to wait until the order list reaches the requested position."""

router = APIRouter()


def create_app(settings: Settings) -> FastAPI:
    system = create_system(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with system.app.open(services=settings.services):
            yield

    app = FastAPI(title="Orders", lifespan=lifespan, responses=problems.RESPONSES)
    app.state.system = system
    app.include_router(router)
    app.add_middleware(CorrelationMiddleware)
    problems.install(app)
    return app


def from_environment() -> FastAPI:
    """Create the application; raise ``ConfigError`` for an invalid environment variable."""
    return create_app(Settings.from_env())


async def get_orders(request: Request) -> Application:
    """Return the application that handles the messages."""
    orders: Application = request.app.state.system.app
    return orders


OrdersDep = Annotated[Application, Depends(get_orders)]


async def open_transaction(orders: OrdersDep) -> AsyncIterator[UnitOfWork]:
    async with orders.backend.unit_of_work() as uow:
        yield uow


async def snapshot_uow(orders: OrdersDep) -> AsyncIterator[UnitOfWork]:
    """Open a unit of work in which all reads see the same committed state."""
    async with orders.backend.unit_of_work() as uow:
        await repeatable_read(uow)
        yield uow


async def get_command_id(
    idempotency_key: Annotated[str | None, Header(pattern="^[!-~]{1,100}$")] = None,
) -> str:
    """Return the ``Idempotency-Key`` of the request, or a new id."""
    return idempotency_key or str(uuid4())


async def wait_for_position(
    orders: OrdersDep,
    position: Annotated[int | None, Header(alias=POSITION, ge=0, le=2**63 - 1)] = None,
) -> None:
    """Wait until the order list has reached the position; otherwise the response is a 503."""
    await orders.wait_for(position, timeout=POSITION_TIMEOUT)


# The scope ends them before the response is sent; by default they end after it.
UowDep = Annotated[UnitOfWork, Depends(open_transaction, scope="function")]
SnapshotUowDep = Annotated[UnitOfWork, Depends(snapshot_uow, scope="function")]
CommandId = Annotated[str, Depends(get_command_id)]
OrderId = Annotated[Text, Path()]


@router.post("/orders/{order_id}/lines", status_code=201)
async def add_line(
    order_id: OrderId,
    body: NewLine,
    command_id: CommandId,
    orders: OrdersDep,
    response: Response,
) -> LineAnswer:
    command = AddLine(command_id=command_id, order_id=order_id, **dict(body))
    added = await orders.send(command)
    _set_position_header(response, added.position)
    if added.result == "duplicate":
        response.status_code = 200
    return LineAnswer(order_id=order_id, line_id=body.line.id, result=added.result)


@router.post("/orders/{order_id}/shipment")
async def ship(
    order_id: OrderId,
    body: Shipment,
    command_id: CommandId,
    orders: OrdersDep,
    response: Response,
) -> OrderAnswer:
    """Ship an order."""
    command = ShipOrder(command_id=command_id, order_id=order_id, shipped_at=body.shipped_at)
    shipped = await orders.send(command)
    _set_position_header(response, shipped.position)
    return OrderAnswer(order_id=shipped.result)


@router.post("/orders", status_code=201)
async def place_order(
    body: NewOrder, command_id: CommandId, orders: OrdersDep, uow: UowDep
) -> OrderAnswer:
    """Place an order with all its lines or none; each command joins the open unit of work."""
    fingerprint = compute_fingerprint(body)
    if await get_inbox(uow).register("orders", command_id, fingerprint, uow) is None:
        order = dict(body)
        for line in order.pop("lines"):
            await orders.send(AddLine(line=line, **order))
    return OrderAnswer(order_id=body.order_id)


@router.get("/orders", dependencies=[Depends(wait_for_position)])
async def list_orders(
    request: Request,
    orders: OrdersDep,
    after: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Page:
    """Return a page of the order list."""
    # One order more than requested shows if there is a next page.
    found = (await orders.query(ListOrders(after=after, limit=limit + 1))).result
    following = None
    if len(found) > limit:
        found = found[:limit]
        following = f"{request.url.path}?{urlencode({'after': found[-1].id, 'limit': limit})}"
    return Page.model_validate({"orders": found, "next": following})


@router.get("/revenue/{day}")
async def revenue(day: date, orders: OrdersDep) -> Day:
    """Return the revenue of a day, which an inline projection keeps up to date."""
    return (await orders.query(GetDay(day=day))).result


@router.get("/sales")
async def sales(
    orders: OrdersDep, uow: SnapshotUowDep, top: Annotated[int, Query(ge=1, le=100)] = 5
) -> Sales:
    """Return the sales; the query reads four times in the open unit of work."""
    return Sales.model_validate((await orders.query(GetSalesReport(top=top))).result)


@router.get("/health/live")
async def live() -> dict[str, str]:
    """Answer, to show that the process runs; a supervisor restarts a process without an answer."""
    return {"status": "alive"}


@router.get("/health/ready")
async def ready(orders: OrdersDep) -> JSONResponse:
    """Return the health, with status 503 if the service cannot handle requests."""
    health = await orders.health()
    return JSONResponse(health.to_json(), status_code=200 if health.is_ready else 503)


def _set_position_header(response: Response, position: int | None) -> None:
    if position is not None:
        response.headers[POSITION] = str(position)
