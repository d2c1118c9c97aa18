"""Wrong uses: mypy and pyright report each line that ends with `# error`, and no other line."""

from __future__ import annotations

from decimal import Decimal

from redis.asyncio import Redis
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from cqrs_ddd_advanced_core import EventSourcedRepository, Projections
from cqrs_ddd_core import (
    Application,
    CommandHandler,
    HandlerRegistry,
    IBackend,
    IBulkRepository,
    Mediator,
    QueryHandler,
    standard_middlewares,
)
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend, SQLAlchemyUnitOfWork
from cqrs_ddd_redis import RedlockLockStrategy
from cqrs_ddd_specifications import QueryOptions, field
from tests.typing.application import (
    Account,
    AccountEnded,
    Balances,
    CloseAccount,
    CountCustomers,
    Customer,
    Deposit,
    FindCustomers,
    Money,
    PrintingPublisher,
    Ticker,
    Ticks,
    TimingMiddleware,
    Wealthy,
)


def change_values(money: Money, event: AccountEnded, command: Deposit) -> None:
    money.amount = Decimal(2)  # error
    money.colour = "red"  # error
    event.reason = "other"  # error
    command.account_id = "other"  # error


def create_values(account: Account) -> None:
    Money(amount="five")  # error
    Money(Decimal(5))  # error
    Money(amount=Decimal(5), colour="red")  # error
    AccountEnded(reason="moved", colour="red")  # error
    Account(id="a", colour="red")  # error
    Deposit(account_id="a")  # error
    Account(id=1)  # error
    Account()  # error
    account.deposit(5)  # error
    account.id = 5  # error


async def send_messages(app: Application, deposit: Deposit) -> None:
    text: bytes = (await app.send(deposit)).result  # error
    number: str = (await app.query(CountCustomers())).result  # error
    await app.send(CountCustomers())  # error
    await app.query(deposit)  # error
    await app.send(Deposit)  # error
    _ = app.send(deposit).result  # error
    await app.query(FindCustomers(city=text, cursor=number))  # error


async def use_repositories(
    backend: IBackend, accounts: IBulkRepository[Account, str], customer: Customer
) -> None:
    wrong: IBulkRepository[Account, str] = backend.repository(Customer)  # error
    await accounts.get(1)  # error
    await accounts.add(customer)  # error
    await accounts.search("open")  # error
    await accounts.search(Wealthy())  # error
    await accounts.search(QueryOptions(Wealthy(), limit=5))  # error
    await accounts.search(QueryOptions(limit="5"))  # error
    await accounts.search(field("city").is_in(5))  # error
    (await accounts.get("a")).deposit(Money(amount=Decimal(1)))  # error
    accounts.search(field("city") == "Bonn").all()  # error
    await EventSourcedRepository[Account, str](Customer).get("a")  # error
    await wrong.get_one(1)  # error


def create_applications(backend: IBackend, handlers: HandlerRegistry) -> None:
    Application(SQLAlchemyBackend)  # error
    Application("sqlite+aiosqlite:///bank.db")  # error
    Application(backend, middlewares=[TimingMiddleware])  # error
    Application(backend, middlewares=standard_middlewares(TimingMiddleware))  # error
    Application(backend, publisher=PrintingPublisher)  # error
    Application(backend, services=[Ticks])  # error
    Application(backend, services=[Ticker()])  # error
    Application(backend, services=[Balances()])  # error
    Mediator(handlers, uow_factory=backend.unit_of_work())  # error
    Projections([Balances])  # error
    Projections([Balances()], batch="many")  # error
    Projections([Balances()], lag=3)  # error


def connect(redis: Redis) -> None:
    engine = create_async_engine("sqlite+aiosqlite:///bank.db")
    SQLAlchemyBackend(create_engine("sqlite:///bank.db"))  # error
    SQLAlchemyUnitOfWork(async_sessionmaker(engine))  # error
    SQLAlchemyUnitOfWork(session_factory=engine)  # error
    RedlockLockStrategy(redis, namespace="shop")  # error


class CloseAccountHandler(CommandHandler[Money]):
    async def handle(self, command: CloseAccount) -> str:  # error
        return command.reason


class CountCustomersHandler(QueryHandler[int]):
    def handle(self, query: CountCustomers) -> int:  # error
        return 1


def register_handlers(app: Application) -> None:
    def count_customers(query: CountCustomers) -> int:
        return 1

    app.query_handler(count_customers)  # error
    app.handlers.register_command_handler(CountCustomers, count_customers)  # error
