"""Application as a user writes it, which mypy and pyright accept in strict mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import assert_type

from cqrs_ddd_advanced_core import (
    ConflictRetryMiddleware,
    EventSourcedRepository,
    Fields,
    JsonDocument,
    PoisonEventPolicy,
    ProjectionDocuments,
    ProjectionHandler,
    Projections,
)
from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    AuditableMixin,
    Command,
    CommandHandler,
    CommandResponse,
    DomainEvent,
    EventHandler,
    HandlerRegistry,
    IBackend,
    IBulkRepository,
    IMessagePublisher,
    IMiddleware,
    InMemoryBackend,
    IRepository,
    ISpecification,
    Mediator,
    Next,
    OutboxMessage,
    Placement,
    Query,
    QueryHandler,
    QueryResponse,
    SearchResult,
    UnitOfWork,
    ValueObject,
    standard_middlewares,
    when,
)
from cqrs_ddd_core.application import BackgroundService, IService, ServiceState
from cqrs_ddd_core.primitives.background_service import Loops
from cqrs_ddd_persistence_sqlalchemy import (
    AuditableModelMixin,
    ExactDecimal,
    SQLAlchemyBackend,
    SQLAlchemyRepository,
    VersionMixin,
)
from cqrs_ddd_specifications import QueryOptions, field

logger = logging.getLogger(__name__)

# Values, events and aggregates


class Money(ValueObject):
    amount: Decimal
    currency: str = "EUR"

    def __add__(self, other: Money) -> Money:
        return Money(amount=self.amount + other.amount, currency=self.currency)


class AmountDeposited(DomainEvent):
    amount: Money


class AccountEnded(DomainEvent):
    reason: str


class Account(AggregateRoot[str]):
    balance: Money = Money(amount=Decimal(0))
    closed_because: str | None = None

    def deposit(self, amount: Money) -> None:
        self.add_event(AmountDeposited(amount=amount))

    def close(self, reason: str) -> None:
        self.add_event(AccountEnded(reason=reason))

    def apply_AmountDeposited(self, event: AmountDeposited) -> None:
        self.balance += event.amount

    @when(AccountEnded)
    def end(self, event: AccountEnded) -> None:
        self.closed_because = event.reason


class Customer(AuditableMixin, AggregateRoot[int]):
    name: str
    city: str | None = None
    limit: Decimal = Decimal(100)

    def rename(self, name: str, at: datetime) -> None:
        self.name = name
        self.touch(at)


class Model(DeclarativeBase):
    pass


class CustomerModel(VersionMixin, AuditableModelMixin, Model):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    city: Mapped[str | None]
    limit: Mapped[Decimal] = mapped_column(ExactDecimal(18, 2))


class Wealthy(ISpecification[Customer]):
    def is_satisfied_by(self, candidate: Customer) -> bool:
        return candidate.limit > 1_000


# Messages


class Deposit(Command[Money]):
    account_id: str
    amount: Money


class CloseAccount(Command[None]):
    account_id: str
    reason: str = "asked for"


class AddCustomer(Command[int]):
    customer_id: int
    name: str


class ListBalances(Query[list[JsonDocument]]):
    above: Decimal = Decimal(0)


class FindCustomers(Query[tuple[list[Customer], str | None]]):
    city: str
    cursor: str | None = None


class CountCustomers(Query[int]):
    pass


# Projections


class Balances(ProjectionHandler):
    collection = "balances"
    fields: ClassVar[Fields] = {"amount": Decimal, "is_open": bool}

    def apply_AmountDeposited(self, event: AmountDeposited, documents: ProjectionDocuments) -> None:
        account_id = str(event.aggregate_id)
        found = documents.get(account_id) or {"amount": "0"}
        amount = Decimal(found["amount"]) + event.amount.amount
        documents.upsert(account_id, {"amount": amount, "is_open": True})

    @when(AccountEnded)
    def close(self, event: AccountEnded, documents: ProjectionDocuments) -> None:
        documents.delete(str(event.aggregate_id))


# Services, middlewares, the broker


class Ticker(BackgroundService):
    def create_loops(self) -> Loops:
        return [self.tick]

    async def tick(self) -> None:
        while not self.is_stopping:
            await self.wait(asyncio.sleep(60))


class Ticks(IService):
    @property
    def name(self) -> str:
        return "ticks"

    def bind(self, backend: IBackend) -> Ticker:
        return Ticker()


class TimingMiddleware(IMiddleware):
    placement: ClassVar[Placement] = Placement.OUTSIDE
    order: ClassVar[int] = 15

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, message: object, next_: Next) -> object:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        response: object = await next_(message)
        self.seconds.append(loop.time() - begin)
        return response


class PrintingPublisher(IMessagePublisher):
    async def publish(self, message: OutboxMessage) -> None:
        logger.info("%s: %s", message.event_type, message.payload)


# Handlers


class Bank:
    """Application with the repositories and projections that its handlers use."""

    def __init__(self, backend: IBackend) -> None:
        self.accounts = EventSourcedRepository[Account, str](Account)
        self.customers: IBulkRepository[Customer, int] = backend.repository(Customer, CustomerModel)
        self.projections = Projections(
            [Balances()], batch=100, on_poison=PoisonEventPolicy.QUARANTINE, on_change=self.changed
        )
        self.app = Application(
            backend,
            middlewares=standard_middlewares(TimingMiddleware(), ConflictRetryMiddleware()),
            publisher=PrintingPublisher(),
            services=[self.projections, Ticks()],
        )
        self.app.command_handler(self.deposit)
        self.app.query_handler(self.find_customers)
        self.app.handlers.register_query_handler(ListBalances, ListBalancesHandler(self))
        self.app.handlers.register_command_handler(CloseAccount, CloseAccountHandler)

    async def changed(self, collection: str, ids: Collection[str]) -> None:
        logger.info("%d changed documents in %s", len(ids), collection)

    async def deposit(self, command: Deposit) -> Money:
        account = await self.accounts.get(command.account_id) or Account(id=command.account_id)
        account.deposit(command.amount)
        await self.accounts.add(account)
        return account.balance

    async def find_customers(self, query: FindCustomers) -> tuple[list[Customer], str | None]:
        is_in_city = (field("city") == query.city) & ~field("name").is_null()
        options = QueryOptions(is_in_city, ordering=("name",), limit=20).with_cursor(query.cursor)
        found = await (await self.customers.search(options)).all()
        return found, options.cursor_after(found[-1]) if found else None


class CloseAccountHandler(CommandHandler[None]):
    accounts = EventSourcedRepository[Account, str]()

    async def handle(self, command: CloseAccount, uow: UnitOfWork) -> CommandResponse[None]:
        account = await self.accounts.get_one(command.account_id, uow)
        account.close(command.reason)
        await self.accounts.add(account, uow)
        return CommandResponse(None)


class ListBalancesHandler(QueryHandler[list[JsonDocument]]):
    def __init__(self, bank: Bank) -> None:
        self._documents = bank.projections.documents

    async def handle(self, query: ListBalances) -> list[JsonDocument]:
        found = await self._documents.find("balances", field("amount") > query.above)
        return [document async for document in found]


def create_application(backend: IBackend) -> Application:
    bank = Bank(backend)
    app, customers = bank.app, bank.customers

    @app.command_handler
    async def add_customer(command: AddCustomer, uow: UnitOfWork) -> int:
        return await customers.add(Customer(id=command.customer_id, name=command.name), uow)

    @app.query_handler(CountCustomers)
    async def count_customers(query: CountCustomers) -> int:
        return await (await customers.search(Wealthy())).count()

    @app.event_handler
    class Greeter(EventHandler):
        async def handle(self, event: AccountEnded) -> None:
            logger.info("closed: %s", event.reason)

    by_hand: Callable[[AddCustomer, UnitOfWork], Coroutine[None, None, int]] = add_customer
    other: Callable[[CountCustomers], Coroutine[None, None, int]] = count_customers
    logger.info("handlers: %s, %s", by_hand, other)
    assert_type(Greeter(), Greeter)
    return app


async def read_customers(customers: IRepository[Customer, int]) -> None:
    search = await customers.search(Wealthy())
    assert_type(search, SearchResult[Customer])
    assert_type(await search, list[Customer])
    assert_type(await search.first(), Customer | None)
    assert_type(await search.one(), Customer)
    assert_type(await search.count(), int)
    async for customer in search:
        assert_type(customer, Customer)
    assert_type(await customers.get(1), Customer | None)
    assert_type(await customers.list_all([1, 2]), list[Customer])


async def use_application(backend: IBackend) -> None:
    prices = {Money(amount=Decimal(1)): "one", Money(amount=Decimal(2)): "two"}
    assert_type(prices, dict[Money, str])
    async with create_application(backend) as app:
        response = await app.send(Deposit(account_id="a", amount=Money(amount=Decimal(5))))
        assert_type(response, CommandResponse[Money])
        assert_type(response.result, Money)
        assert_type((await app.send(CloseAccount(account_id="a"))).result, None)
        await app.wait_for(response.position)
        balances = await app.query(ListBalances())
        assert_type(balances, QueryResponse[list[JsonDocument]])
        found, cursor = (await app.query(FindCustomers(city="Bonn"))).result
        assert_type(found, list[Customer])
        assert_type(cursor, str | None)
        assert_type(app.services["projections"].status.state, ServiceState)
        assert_type(app.explain(Deposit).inside, tuple[str, ...])


async def wire_by_hand(backend: SQLAlchemyBackend) -> None:
    handlers = HandlerRegistry()
    mediator = Mediator(handlers, uow_factory=backend.unit_of_work)
    customers: SQLAlchemyRepository[Customer, int] = backend.repository(Customer, CustomerModel)
    async with backend.unit_of_work() as uow:
        customer = await customers.get_one(1, uow)
        assert_type(customer, Customer)
        assert_type(customer.id, int)
        await customers.add_many([customer], uow)
    assert_type((await mediator.query(CountCustomers())).result, int)


def create_backends() -> list[IBackend]:
    return [InMemoryBackend(), SQLAlchemyBackend("sqlite+aiosqlite://", create_schema=True)]
