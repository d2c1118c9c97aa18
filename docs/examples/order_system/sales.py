"""Sales tables that messages update, and the queries over all read models."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pydantic import Field

from cqrs_ddd_advanced_core.ports.projections import DOC_ID, IProjectionStore
from cqrs_ddd_core import AggregateRoot, HandlerRegistry, IRepository, Query
from cqrs_ddd_core.messaging import InboxConsumer, decode_event
from cqrs_ddd_core.ports import IMessagePublisher, OutboxMessage
from cqrs_ddd_core.primitives.exceptions import EntityNotFoundError
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions

from .domain import LineAdded, OrderPlaced, OrderShipped, events
from .projections import DailyRevenue, Day, OrderSummaries, OrderSummary

LATE_AFTER_DAYS = 21


class CustomerSales(AggregateRoot[str]):
    """Row of a customer with totals."""

    orders: int = 0
    revenue: Decimal = Decimal(0)


class CountrySales(AggregateRoot[str]):
    """Row of a country; ``customers`` counts the customers with their first order from it."""

    orders: int = 0
    cancellations: int = 0
    lines: int = 0
    customers: int = 0
    late_orders: int = 0
    revenue: Decimal = Decimal(0)


@dataclass(frozen=True)
class SalesTables:
    """Repositories of the sales tables; their rows are aggregates without events."""

    customers: IRepository[CustomerSales, str]
    countries: IRepository[CountrySales, str]


class SalesProjection:
    """Message handler that updates the tables in the transaction of the inbox."""

    def __init__(self, tables: SalesTables) -> None:
        self._tables = tables

    async def __call__(self, message: OutboxMessage) -> None:
        """Update the totals that the event changes."""
        event = decode_event(message, events)
        if isinstance(event, OrderPlaced):
            await self._count_order(event)
        elif isinstance(event, LineAdded):
            await self._count_line(event)
        elif isinstance(event, OrderShipped) and event.days > LATE_AFTER_DAYS:
            country = await self._load_country(event.country)
            country.late_orders += 1
            await self._tables.countries.add(country)

    async def _count_order(self, event: OrderPlaced) -> None:
        customer = await self._load_customer(event.customer_id)
        country = await self._load_country(event.country)
        if customer.version == 0:
            country.customers += 1
        if event.is_cancellation:
            country.cancellations += 1
        else:
            country.orders += 1
            customer.orders += 1
        await self._tables.customers.add(customer)
        await self._tables.countries.add(country)

    async def _count_line(self, event: LineAdded) -> None:
        customer = await self._load_customer(event.customer_id)
        country = await self._load_country(event.country)
        country.lines += 1
        for row in (customer, country):
            row.revenue += event.line.amount
        await self._tables.customers.add(customer)
        await self._tables.countries.add(country)

    async def _load_customer(self, customer_id: str) -> CustomerSales:
        return await self._tables.customers.get(customer_id) or CustomerSales(id=customer_id)

    async def _load_country(self, name: str) -> CountrySales:
        return await self._tables.countries.get(name) or CountrySales(id=name)


class DirectPublisher(IMessagePublisher):
    """Publisher that calls the consumer directly instead of a message broker.

    It handles one message at a time, because most messages change the row of the same country.
    """

    def __init__(self, consumer: InboxConsumer) -> None:
        self._consumer = consumer
        self._lock = asyncio.Lock()

    async def publish(self, message: OutboxMessage) -> None:
        """Wait until the consumer has handled the message."""
        async with self._lock:
            await self._consumer(message)


@dataclass(frozen=True)
class SalesReport:
    """Data of the printed report."""

    late_orders: list[OrderSummary]
    """Late orders with the longest delay first, at most ``top``."""
    top_customers: list[CustomerSales]
    countries: list[CountrySales]
    """Countries by descending revenue."""
    days: list[Day]
    """Days from the newest to the oldest; their sum is the revenue of all countries."""

    @property
    def totals(self) -> CountrySales:
        """Sums over all countries."""
        total = CountrySales(id="total")
        for country in self.countries:
            total.orders += country.orders
            total.cancellations += country.cancellations
            total.lines += country.lines
            total.customers += country.customers
            total.late_orders += country.late_orders
            total.revenue += country.revenue
        return total


class GetSalesReport(Query[SalesReport]):
    """Query for the sales, with at most ``top`` customers and ``top`` late orders."""

    top: int = Field(default=5, ge=1, le=100)


class ListOrders(Query[list[OrderSummary]]):
    """Query for a page of the order list, newest first, that begins after the order ``after``."""

    after: str | None = None
    limit: int = Field(default=10, ge=1, le=1_000)


class GetDay(Query[Day]):
    """Query for the revenue of one day."""

    day: date


class SalesQueries:
    """Handlers of all queries, over any repositories and projection store."""

    def __init__(self, tables: SalesTables, documents: IProjectionStore) -> None:
        self._tables = tables
        self._documents = documents

    def register(self, handlers: HandlerRegistry) -> None:
        """Register the handlers."""
        handlers.register_query_handler(GetSalesReport, self.get_report)
        handlers.register_query_handler(GetDay, self.get_day)
        handlers.register_query_handler(ListOrders, self.list_orders)

    async def get_report(self, query: GetSalesReport) -> SalesReport:
        """Return the report, from the sales tables and both projections."""
        tables = self._tables
        is_late = AttributeSpecification("days_to_ship", ">", LATE_AFTER_DAYS)
        bought = AttributeSpecification("orders", ">", 0)
        best = QueryOptions(bought, ordering=("-revenue", "id"), limit=query.top)
        worst = QueryOptions(is_late, ordering=("-days_to_ship", DOC_ID), limit=query.top)
        newest = QueryOptions(ordering=(f"-{DOC_ID}",))
        days = await self._documents.find(DailyRevenue.collection, newest)
        return SalesReport(
            late_orders=await self._find_orders(worst),
            top_customers=await (await tables.customers.search(best)),
            countries=await (
                await tables.countries.search(QueryOptions(ordering=("-revenue", "id")))
            ),
            days=[Day.model_validate(day) for day in await days],
        )

    async def get_day(self, query: GetDay) -> Day:
        """Return the revenue of a day, zero for a day without lines."""
        day_id = query.day.isoformat()
        found = await self._documents.get(DailyRevenue.collection, day_id)
        return Day.model_validate(found or {"id": day_id})

    async def list_orders(self, query: ListOrders) -> list[OrderSummary]:
        """Return a page of the order list, by keyset pagination."""
        page = QueryOptions(ordering=("-placed_at", DOC_ID), limit=query.limit)
        if query.after is not None:
            last = await self._get_order(query.after)
            page = page.with_pagination(query.limit, after=(last.placed_at, last.id))
        return await self._find_orders(page)

    async def _find_orders(self, criteria: QueryOptions) -> list[OrderSummary]:
        found = await self._documents.find(OrderSummaries.collection, criteria)
        return [OrderSummary.model_validate(order) for order in await found]

    async def _get_order(self, order_id: str) -> OrderSummary:
        order = await self._documents.get(OrderSummaries.collection, order_id)
        if order is None:
            raise EntityNotFoundError(
                f"there is no order {order_id} in the list",
                entity_type="Order",
                entity_id=order_id,
            )
        return OrderSummary.model_validate(order)
