"""Application of the release that is running; ``shop_after`` is its next release."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_advanced_core import EventSourcedRepository, Projections
from cqrs_ddd_advanced_core.projections import ProjectionDocuments, ProjectionHandler
from cqrs_ddd_core import AggregateRoot, Application, Command, DomainEvent, EventTypeRegistry
from cqrs_ddd_core.ports import IMessagePublisher
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend, VersionMixin

events = EventTypeRegistry()


@events.register
class Paid(DomainEvent):
    cents: int


class Wallet(AggregateRoot[str]):
    event_registry = events

    cents: int = 0

    def pay(self, cents: int) -> None:
        self.add_event(Paid(cents=cents))

    def apply_Paid(self, event: Paid) -> None:
        self.cents += event.cents


class Receipt(AggregateRoot[str]):
    cents: int = 0


class Base(DeclarativeBase):
    pass


class ReceiptModel(VersionMixin, Base):
    __tablename__ = "receipts"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    cents: Mapped[int] = mapped_column(BigInteger)


class Balances(ProjectionHandler):
    collection = "balances"
    fields: ClassVar = {"cents": int}
    event_registry = events

    def apply_Paid(self, event: Paid, documents: ProjectionDocuments) -> None:
        wallet = str(event.aggregate_id)
        found = documents.get(wallet) or {"cents": 0}
        documents.upsert(wallet, {"cents": found["cents"] + event.cents})


class Pay(Command[int]):
    wallet_id: str
    cents: int


class Inspect(Command[int]):
    """Command that records no event."""

    wallet_id: str


def create_projections() -> Projections:
    return Projections([], inline=[Balances()])


def create_application(
    backend: SQLAlchemyBackend, projections: Projections, publisher: IMessagePublisher
) -> Application:
    app = Application(backend, services=[projections], publisher=publisher)
    wallets: EventSourcedRepository[Wallet, str] = EventSourcedRepository(Wallet)
    receipts = backend.repository(Receipt, ReceiptModel)

    @app.command_handler
    async def pay(command: Pay) -> int:
        wallet = await wallets.get(command.wallet_id) or Wallet.create_empty(command.wallet_id)
        wallet.pay(command.cents)
        await wallets.add(wallet)
        receipt = await receipts.get(command.wallet_id) or Receipt(id=command.wallet_id)
        receipt.cents += command.cents
        await receipts.add(receipt)
        return wallet.cents

    @app.command_handler
    async def inspect(command: Inspect) -> int:
        wallet = await wallets.get(command.wallet_id)
        return 0 if wallet is None else wallet.cents

    return app
