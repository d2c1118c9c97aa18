"""Persistence dispatcher compared with the handlers that it calls, in one unit of work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cqrs_ddd_advanced_core.persistence import (
    CachingPersistenceDispatcher,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from cqrs_ddd_core import AggregateRoot, UnitOfWork
from cqrs_ddd_core.adapters.memory import (
    InMemoryCacheService,
    InMemoryRepository,
    InMemoryUnitOfWork,
)

from .measuring import Row, Side


class Order(AggregateRoot[str]):
    customer: str
    total: int = 0


@dataclass(frozen=True)
class OrderLine:
    id: str
    customer: str


class Orders:
    """Handler as a user writes it, over an in-memory table."""

    table: InMemoryRepository[Order, str] = InMemoryRepository(Order)

    async def persist(self, entity: Order, uow: UnitOfWork) -> str:
        return await self.table.add(entity, uow)

    async def retrieve(self, ids: Sequence[str], uow: UnitOfWork) -> list[Order]:
        return await self.table.list_all(list(ids), uow)


class OrderLines:
    async def fetch(self, ids: Sequence[str], uow: UnitOfWork) -> list[OrderLine]:
        found = await Orders.table.list_all(list(ids), uow)
        return [OrderLine(each.id, each.customer) for each in found]


@dataclass(frozen=True)
class Place:
    orders: Orders
    lines: OrderLines
    dispatcher: PersistenceDispatcher
    cached: CachingPersistenceDispatcher


Work = Callable[[Place], Awaitable[object]]

IDS = [f"o-{number}" for number in range(1, 11)]


def build_rows() -> list[Row]:
    return [
        Row("dispatch: apply", "handler.persist", repeat_work(apply), repeat_work(persist), 1.3),
        Row(
            "dispatch: fetch_domain of one",
            "handler.retrieve",
            repeat_work(load),
            repeat_work(retrieve),
            1.3,
        ),
        Row(
            "dispatch: fetch of ten ids",
            "handler.fetch",
            repeat_work(fetch),
            repeat_work(read),
            1.3,
        ),
        Row(
            "dispatch: fetch_domain, cached",
            "handler.retrieve",
            repeat_work(load_cached),
            repeat_work(retrieve_in_new_unit),
        ),
    ]


def repeat_work(work: Work) -> Side:
    async def side(number: int) -> None:
        place = await _new_place()
        for _ in range(number):
            await work(place)

    return side


async def _new_place() -> Place:
    Orders.table = InMemoryRepository(Order)
    await Orders.table.add_many([Order(id=each, customer="anna") for each in IDS])
    registry = PersistenceRegistry()
    registry.register_operation(Order, Orders)
    registry.register_retrieval(Order, Orders)
    registry.register_query(OrderLine, OrderLines)
    dispatcher = PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)
    cached = CachingPersistenceDispatcher(dispatcher, InMemoryCacheService())
    return Place(Orders(), OrderLines(), dispatcher, cached)


async def apply(place: Place) -> object:
    return await place.dispatcher.apply(Order(id="new", customer="anna"), InMemoryUnitOfWork())


async def persist(place: Place) -> object:
    return await place.orders.persist(Order(id="new", customer="anna"), InMemoryUnitOfWork())


async def load(place: Place) -> object:
    return await place.dispatcher.fetch_domain(Order, ["o-1"], InMemoryUnitOfWork())


async def retrieve(place: Place) -> object:
    return await place.orders.retrieve(["o-1"], InMemoryUnitOfWork())


async def fetch(place: Place) -> object:
    return await (await place.dispatcher.fetch(OrderLine, IDS, InMemoryUnitOfWork()))


async def read(place: Place) -> object:
    return await place.lines.fetch(IDS, InMemoryUnitOfWork())


async def load_cached(place: Place) -> object:
    return await place.cached.fetch_domain(Order, ["o-1"])


async def retrieve_in_new_unit(place: Place) -> object:
    async with InMemoryUnitOfWork() as uow:
        return await place.orders.retrieve(["o-1"], uow)
