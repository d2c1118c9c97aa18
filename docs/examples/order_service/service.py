"""HTTP endpoints for orders: ``uvicorn --factory order_service.service:from_environment``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated
from urllib.parse import urlencode
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from order_system.application import AddLine, ShipOrder
from order_system.composition import Settings, System, open_system
from order_system.domain import Text
from order_system.projections import Day, OrderSummaries
from order_system.sales import GetDay, GetSalesReport, ListOrders

from cqrs_ddd_core import Mediator, UnitOfWork
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
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Worker and relay stop first and release their leases.
        async with open_system(settings) as system, system.relay, system.worker:
            app.state.system = system
            yield

    app = FastAPI(title="Orders", lifespan=lifespan, responses=problems.RESPONSES)
    app.include_router(router)
    app.add_middleware(CorrelationMiddleware)
    problems.install(app)
    return app


def from_environment() -> FastAPI:
    """Create the application; raise ``ConfigError`` for an invalid environment variable."""
    return create_app(Settings.from_env())


async def get_system(request: Request) -> System:
    """Return the opened system of the application."""
    system: System = request.app.state.system
    return system


async def get_mediator(system: Annotated[System, Depends(get_system)]) -> Mediator:
    """Return the mediator of the application."""
    return system.mediator


async def open_transaction(
    system: Annotated[System, Depends(get_system)],
) -> AsyncIterator[UnitOfWork]:
    async with system.uow_factory() as uow:
        yield uow


async def snapshot_uow(
    system: Annotated[System, Depends(get_system)],
) -> AsyncIterator[UnitOfWork]:
    """Open a unit of work in which all reads see the same committed state."""
    async with system.uow_factory() as uow:
        await repeatable_read(uow)
        yield uow


async def get_command_id(
    idempotency_key: Annotated[str | None, Header(pattern="^[!-~]{1,100}$")] = None,
) -> str:
    """Return the ``Idempotency-Key`` of the request, or a new id."""
    return idempotency_key or str(uuid4())


async def wait_for_position(
    system: Annotated[System, Depends(get_system)],
    position: Annotated[int | None, Header(alias=POSITION, ge=0, le=2**63 - 1)] = None,
) -> None:
    """Wait until the order list has reached the position; raise ``BehindError`` if it has not."""
    if position is None:
        return
    projections = [OrderSummaries.collection]
    if not await system.positions.wait_until(position, projections, timeout=POSITION_TIMEOUT):
        raise problems.BehindError(f"the order list has not reached position {position}")


MediatorDep = Annotated[Mediator, Depends(get_mediator)]
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
    mediator: MediatorDep,
    response: Response,
) -> LineAnswer:
    command = AddLine(command_id=command_id, order_id=order_id, **dict(body))
    added = await mediator.send(command)
    _set_position_header(response, added.position)
    if added.result == "duplicate":
        response.status_code = 200
    return LineAnswer(order_id=order_id, line_id=body.line.id, result=added.result)


@router.post("/orders/{order_id}/shipment")
async def ship(
    order_id: OrderId,
    body: Shipment,
    command_id: CommandId,
    mediator: MediatorDep,
    response: Response,
) -> OrderAnswer:
    """Ship an order."""
    command = ShipOrder(command_id=command_id, order_id=order_id, shipped_at=body.shipped_at)
    shipped = await mediator.send(command)
    _set_position_header(response, shipped.position)
    return OrderAnswer(order_id=shipped.result)


@router.post("/orders", status_code=201)
async def place_order(
    body: NewOrder, command_id: CommandId, mediator: MediatorDep, uow: UowDep
) -> OrderAnswer:
    """Place an order with all its lines or none; each command joins the open unit of work."""
    fingerprint = compute_fingerprint(body)
    if await get_inbox(uow).register("orders", command_id, fingerprint, uow) is None:
        order = dict(body)
        for line in order.pop("lines"):
            await mediator.send(AddLine(line=line, **order))
    return OrderAnswer(order_id=body.order_id)


@router.get("/orders", dependencies=[Depends(wait_for_position)])
async def list_orders(
    request: Request,
    mediator: MediatorDep,
    after: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Page:
    """Return a page of the order list."""
    # One order more than requested shows if there is a next page.
    orders = (await mediator.query(ListOrders(after=after, limit=limit + 1))).result
    following = None
    if len(orders) > limit:
        orders = orders[:limit]
        following = f"{request.url.path}?{urlencode({'after': orders[-1].id, 'limit': limit})}"
    return Page.model_validate({"orders": orders, "next": following})


@router.get("/revenue/{day}")
async def revenue(day: date, mediator: MediatorDep) -> Day:
    """Return the revenue of a day, which an inline projection keeps up to date."""
    return (await mediator.query(GetDay(day=day))).result


@router.get("/sales")
async def sales(
    mediator: MediatorDep, uow: SnapshotUowDep, top: Annotated[int, Query(ge=1, le=100)] = 5
) -> Sales:
    """Return the sales; the query reads four times in the open unit of work."""
    return Sales.model_validate((await mediator.query(GetSalesReport(top=top))).result)


def _set_position_header(response: Response, position: int | None) -> None:
    if position is not None:
        response.headers[POSITION] = str(position)
