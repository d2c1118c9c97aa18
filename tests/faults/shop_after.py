"""Next release of ``shop_before``.

The classes are in another module, the command and the event have another field with a default, the
table of receipts has another column, and the inline projection has another version.
"""

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
    note: str = ""


class Wallet(AggregateRoot[str]):
    event_registry = events

    cents: int = 0
    notes: tuple[str, ...] = ()

    def pay(self, cents: int, note: str) -> None:
        self.add_event(Paid(cents=cents, note=note))

    def apply_Paid(self, event: Paid) -> None:
        self.cents += event.cents
        self.notes = (*self.notes, event.note)


class Receipt(AggregateRoot[str]):
    cents: int = 0
    currency: str = "EUR"


class Base(DeclarativeBase):
    pass


class ReceiptModel(VersionMixin, Base):
    __tablename__ = "receipts"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    cents: Mapped[int] = mapped_column(BigInteger)
    # With a default in the database, since the earlier release inserts rows without it.
    currency: Mapped[str] = mapped_column(Text, server_default="EUR")


class Balances(ProjectionHandler):
    collection = "balances"
    fields: ClassVar = {"cents": int}
    event_registry = events

    def apply_Paid(self, event: Paid, documents: ProjectionDocuments) -> None:
        wallet = str(event.aggregate_id)
        found = documents.get(wallet) or {"cents": 0}
        documents.upsert(wallet, {"cents": found["cents"] + event.cents})


class BalancesWithCount(ProjectionHandler):
    collection = "balances"
    version = 2
    fields: ClassVar = {"payments": int}
    event_registry = events

    def apply_Paid(self, event: Paid, documents: ProjectionDocuments) -> None:
        wallet = str(event.aggregate_id)
        found = documents.get(wallet) or {"total": 0, "payments": 0}
        total, payments = found["total"] + event.cents, found["payments"] + 1
        documents.upsert(wallet, {"total": total, "payments": payments})


class Pay(Command[int]):
    wallet_id: str
    cents: int
    note: str = ""


class Inspect(Command[int]):
    """Command that records no event."""

    wallet_id: str


def create_projections() -> Projections:
    return Projections([], inline=[Balances(), BalancesWithCount()])


def create_application(
    backend: SQLAlchemyBackend, projections: Projections, publisher: IMessagePublisher
) -> Application:
    app = Application(backend, services=[projections], publisher=publisher)
    wallets: EventSourcedRepository[Wallet, str] = EventSourcedRepository(Wallet)
    receipts = backend.repository(Receipt, ReceiptModel)

    @app.command_handler
    async def pay(command: Pay) -> int:
        wallet = await wallets.get(command.wallet_id) or Wallet.create_empty(command.wallet_id)
        wallet.pay(command.cents, command.note)
        await wallets.add(wallet)
        receipt = await receipts.get(command.wallet_id) or Receipt(id=command.wallet_id)
        receipt.cents += command.cents
        receipt.currency = "CHF"
        await receipts.add(receipt)
        return wallet.cents

    @app.command_handler
    async def inspect(command: Inspect) -> int:
        wallet = await wallets.get(command.wallet_id)
        return 0 if wallet is None else wallet.cents

    return app
