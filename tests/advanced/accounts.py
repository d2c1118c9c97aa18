"""Event-sourced aggregate with a state that depends on every event and on their order."""

from __future__ import annotations

import random
from itertools import count
from typing import Any

from cqrs_ddd_advanced_core.upcasting import UpcastingEventRegistry
from cqrs_ddd_core import AggregateRoot, DomainEvent

EVENTS = UpcastingEventRegistry()


@EVENTS.register
class SourcedAccountOpened(DomainEvent):
    owner: str


@EVENTS.register
class SourcedPaidIn(DomainEvent):
    amount: int


@EVENTS.register
class SourcedPaidOut(DomainEvent):
    amount: int


@EVENTS.register
class SourcedOwnerChanged(DomainEvent):
    owner: str


class Account(AggregateRoot[str]):
    event_registry = EVENTS

    owner: str
    balance: int = 0
    digest: int = 0

    @classmethod
    def open(cls, account_id: str, owner: str = "ada") -> Account:
        account = cls.create_empty(account_id)
        account.add_event(SourcedAccountOpened(owner=owner))
        return account

    def pay_in(self, amount: int) -> None:
        self.add_event(SourcedPaidIn(amount=amount))

    def pay_out(self, amount: int) -> None:
        self.add_event(SourcedPaidOut(amount=amount))

    def change_owner(self, owner: str) -> None:
        self.add_event(SourcedOwnerChanged(owner=owner))

    def apply_SourcedAccountOpened(self, event: SourcedAccountOpened) -> None:
        self.owner = event.owner

    def apply_SourcedPaidIn(self, event: SourcedPaidIn) -> None:
        self.balance += event.amount
        self._update_digest(event.amount)

    def apply_SourcedPaidOut(self, event: SourcedPaidOut) -> None:
        self.balance -= event.amount
        self._update_digest(-event.amount)

    def apply_SourcedOwnerChanged(self, event: SourcedOwnerChanged) -> None:
        self.owner = event.owner
        self._update_digest(len(event.owner))

    def _update_digest(self, by: int) -> None:
        self.digest = (self.digest * 31 + by) % 1_000_003


_numbers = count(1)


def new_account_id() -> str:
    """Return an id that no other test of this process uses."""
    return f"account-{next(_numbers)}"


def random_account(chance: random.Random, *, most: int = 12) -> Account:
    """Build an account with 1 to ``most`` random events, all pending."""
    account = Account.open(new_account_id(), chance.choice(["ada", "bob"]))
    for _ in range(chance.randrange(most)):
        step: Any = chance.choice([account.pay_in, account.pay_out, account.change_owner])
        step("x" * chance.randrange(5) if step == account.change_owner else chance.randrange(100))
    return account
