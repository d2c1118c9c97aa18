"""What is read: rows that the events keep up to date, and the questions that they answer."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pydantic import AwareDatetime, Field

from cqrs_ddd_core import AggregateRoot, HandlerRegistry, IRepository, Query
from cqrs_ddd_core.messaging import event_of
from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.primitives.exceptions import EntityNotFoundError
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions

from .domain import LineAdded, OrderPlaced, OrderShipped, events

LATE_AFTER_DAYS = 21


class OrderSummary(AggregateRoot[str]):
    """A row of the order list; in ``amount`` what was sold, below zero for a cancellation."""

    customer_id: str
    country: str
    placed_at: AwareDatetime
    is_cancellation: bool
    lines: int = 0
    amount: Decimal = Decimal(0)
    days_to_ship: int | None = None


class CustomerSales(AggregateRoot[str]):
    orders: int = 0
    revenue: Decimal = Decimal(0)


class CountrySales(AggregateRoot[str]):
    """``customers`` counts those whose first order came from here."""

    orders: int = 0
    cancellations: int = 0
    lines: int = 0
    customers: int = 0
    late_orders: int = 0
    revenue: Decimal = Decimal(0)


class SalesTables(Protocol):
    """The tables that are read. Their rows are aggregates, so any repository keeps them."""

    @property
    def orders(self) -> IRepository[OrderSummary, str]: ...

    @property
    def customers(self) -> IRepository[CustomerSales, str]: ...

    @property
    def countries(self) -> IRepository[CountrySales, str]: ...


class SalesProjection:
    """Brings the tables up to date, a message in the transaction of the inbox that knows it."""

    def __init__(self, tables: SalesTables) -> None:
        self._tables = tables

    async def __call__(self, message: OutboxMessage) -> None:
        event = event_of(message, events)
        order_id = str(event.aggregate_id)
        if isinstance(event, OrderPlaced):
            await self._placed(order_id, event)
        elif isinstance(event, LineAdded):
            await self._line_added(order_id, event)
        elif isinstance(event, OrderShipped):
            await self._shipped(order_id, event)

    async def _placed(self, order_id: str, event: OrderPlaced) -> None:
        order = OrderSummary(
            id=order_id,
            customer_id=event.customer_id,
            country=event.country,
            placed_at=event.placed_at,
            is_cancellation=event.is_cancellation,
        )
        await self._tables.orders.add(order)
        customer, country = await self._sales_of(order)
        if customer.version == 0:
            country.customers += 1
        if event.is_cancellation:
            country.cancellations += 1
        else:
            country.orders += 1
            customer.orders += 1
        await self._tables.customers.add(customer)
        await self._tables.countries.add(country)

    async def _line_added(self, order_id: str, event: LineAdded) -> None:
        order = await self._order(order_id)
        customer, country = await self._sales_of(order)
        order.lines += 1
        country.lines += 1
        for row in (customer, country):
            row.revenue += event.line.amount
        order.amount += event.line.amount
        await self._tables.orders.add(order)
        await self._tables.customers.add(customer)
        await self._tables.countries.add(country)

    async def _shipped(self, order_id: str, event: OrderShipped) -> None:
        order = await self._order(order_id)
        order.days_to_ship = (event.shipped_at - order.placed_at).days
        await self._tables.orders.add(order)
        if order.days_to_ship > LATE_AFTER_DAYS:
            _, country = await self._sales_of(order)
            country.late_orders += 1
            await self._tables.countries.add(country)

    async def _order(self, order_id: str) -> OrderSummary:
        return _found(await self._tables.orders.get(order_id), order_id)

    async def _sales_of(self, order: OrderSummary) -> tuple[CustomerSales, CountrySales]:
        tables = self._tables
        return (
            await tables.customers.get(order.customer_id) or CustomerSales(id=order.customer_id),
            await tables.countries.get(order.country) or CountrySales(id=order.country),
        )


@dataclass(frozen=True)
class SalesReport:
    late_orders: list[OrderSummary]
    """Some of them, the worst first."""
    top_customers: list[CustomerSales]
    countries: list[CountrySales]
    """By revenue, the highest first."""

    @property
    def totals(self) -> CountrySales:
        """Of all countries."""
        total = CountrySales(id="total")
        for country in self.countries:
            total.orders += country.orders
            total.cancellations += country.cancellations
            total.lines += country.lines
            total.customers += country.customers
            total.late_orders += country.late_orders
            total.revenue += country.revenue
        return total


class AskForSales(Query[SalesReport]):
    """At most ``top`` customers, and as many late orders."""

    top: int = Field(default=5, ge=1, le=100)


class ListOrders(Query[list[OrderSummary]]):
    """A page of all orders, the newest first: the one that follows the order ``after``."""

    after: str | None = None
    limit: int = Field(default=10, ge=1, le=1_000)


class SalesQueries:
    """Every question, over any repositories."""

    def __init__(self, tables: SalesTables) -> None:
        self._tables = tables

    def register(self, handlers: HandlerRegistry) -> None:
        handlers.register_query_handler(AskForSales, self.sales)
        handlers.register_query_handler(ListOrders, self.list_orders)

    async def sales(self, query: AskForSales) -> SalesReport:
        tables = self._tables
        is_late = AttributeSpecification("days_to_ship", ">", LATE_AFTER_DAYS)
        bought = AttributeSpecification("orders", ">", 0)
        best = QueryOptions(bought, ordering=("-revenue", "id"), limit=query.top)
        worst = QueryOptions(is_late, ordering=("-days_to_ship", "id"), limit=query.top)
        return SalesReport(
            late_orders=await (await tables.orders.search(worst)),
            top_customers=await (await tables.customers.search(best)),
            countries=await (
                await tables.countries.search(QueryOptions(ordering=("-revenue", "id")))
            ),
        )

    async def list_orders(self, query: ListOrders) -> list[OrderSummary]:
        page = QueryOptions(ordering=("-placed_at", "id"), limit=query.limit)
        if query.after is not None:
            last = _found(await self._tables.orders.get(query.after), query.after)
            page = page.next_page(last)
        return await (await self._tables.orders.search(page))


def _found(order: OrderSummary | None, order_id: str) -> OrderSummary:
    if order is None:
        raise EntityNotFoundError(
            f"there is no order {order_id} in the list",
            entity_type="Order",
            entity_id=order_id,
        )
    return order
