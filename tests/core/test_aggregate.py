from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pydantic
import pytest
from pydantic import AliasChoices, AliasPath, Field, field_validator
from pydantic.alias_generators import to_camel

from cqrs_ddd_core import AggregateRoot, DomainEvent, EventTypeRegistry, when
from cqrs_ddd_core.primitives.exceptions import (
    EventApplicationError,
    InvariantViolationError,
    MissingIdentityError,
    UnknownTypeError,
)


class AccountOpened(DomainEvent):
    owner: str


class MoneyPaidIn(DomainEvent):
    amount: Decimal


class AccountLooked(DomainEvent):
    pass


class Account(AggregateRoot[str]):
    owner: str
    balance: Decimal = Decimal(0)
    limits: list[int] = Field(default_factory=list)

    @classmethod
    def open(cls, account_id: str, owner: str) -> Account:
        account = cls.create_empty(account_id)
        account.add_event(AccountOpened(owner=owner))
        return account

    def pay_in(self, amount: Decimal) -> None:
        self.add_event(MoneyPaidIn(amount=amount))

    def apply_AccountOpened(self, event: AccountOpened) -> None:
        self.owner = event.owner

    def apply_MoneyPaidIn(self, event: MoneyPaidIn) -> None:
        self.balance += event.amount
        if event.amount <= 0:
            raise InvariantViolationError("an amount paid in must be positive")


@dataclass
class Stored:
    """Stored event with its two required attributes only."""

    event_type: str
    payload: dict[str, Any] = field(default_factory=dict)


def test_added_event_changes_the_aggregate_and_is_recorded() -> None:
    account = Account.open("a-1", "anna")

    account.pay_in(Decimal("2.50"))

    assert (account.owner, account.balance) == ("anna", Decimal("2.50"))
    assert [type(event) for event in account.pending_events] == [AccountOpened, MoneyPaidIn]


def test_recorded_event_carries_aggregate_id_type_and_version() -> None:
    account = Account.open("a-1", "anna")
    account.pay_in(Decimal(1))

    places = [
        (event.aggregate_id, event.aggregate_type, event.aggregate_version)
        for event in account.pending_events
    ]

    assert places == [("a-1", "Account", 1), ("a-1", "Account", 2)]


def test_aggregate_version_counts_persisted_events_only() -> None:
    account = Account.open("a-1", "anna")

    assert (account.version, account.uncommitted_event_count, account.next_version) == (0, 1, 1)

    account.mark_persisted(1)

    assert (account.version, account.uncommitted_event_count, account.next_version) == (1, 0, 2)
    account.pay_in(Decimal(1))
    assert account.pending_events[-1].aggregate_version == 2


def test_collect_events_returns_each_event_once() -> None:
    account = Account.open("a-1", "anna")

    first, second = account.collect_events(), account.collect_events()

    assert len(first) == 1
    assert second == []


def test_event_without_a_handler_method_is_recorded() -> None:
    account = Account.open("a-1", "anna")

    account.add_event(AccountLooked())

    assert account.next_version == 2


def test_domain_error_in_a_handler_method_leaves_the_aggregate_unchanged() -> None:
    account = Account.open("a-1", "anna")
    before = account.model_copy(deep=True)

    with pytest.raises(InvariantViolationError):
        account.pay_in(Decimal(-5))

    assert account == before
    assert account.uncommitted_event_count == 1
    account.pay_in(Decimal(1))
    assert [event.aggregate_version for event in account.pending_events] == [1, 2]


def test_error_of_a_failing_handler_method_names_aggregate_and_event() -> None:
    class Fragile(AggregateRoot[str]):
        count: int = 0

        def apply_AccountLooked(self, event: AccountLooked) -> None:
            self.count += 1
            raise KeyError("missing")

    fragile = Fragile(id="f-1")

    with pytest.raises(EventApplicationError, match="Fragile f-1 cannot apply AccountLooked") as e:
        fragile.add_event(AccountLooked())

    assert (e.value.aggregate_type, e.value.event_type) == ("Fragile", "AccountLooked")
    assert isinstance(e.value.__cause__, KeyError)
    assert (fragile.count, fragile.pending_events) == (0, ())


@pytest.mark.parametrize("nothing", [None, 7, "AccountOpened", object(), AccountOpened])
def test_add_event_rejects_objects_that_are_not_events(nothing: Any) -> None:
    with pytest.raises(EventApplicationError, match="is not a DomainEvent; subclass DomainEvent"):
        Account(id="a-1", owner="anna").add_event(nothing)


def test_same_event_cannot_be_recorded_twice() -> None:
    account, event = Account(id="a-1", owner="anna"), AccountLooked()
    account.add_event(event)

    with pytest.raises(EventApplicationError, match="already recorded; create a new one"):
        account.add_event(event)

    assert len(account.pending_events) == 1


def test_add_event_rejects_an_event_of_another_aggregate() -> None:
    with pytest.raises(EventApplicationError, match="belongs to 'a-2'"):
        Account(id="a-1", owner="anna").add_event(AccountLooked(aggregate_id="a-2"))


@pytest.mark.parametrize("fields", [{}, {"id": None}, {"id": ""}])
def test_aggregate_without_an_id_is_rejected(fields: dict[str, Any]) -> None:
    with pytest.raises(MissingIdentityError, match="Account has no id; pass id=") as caught:
        Account(owner="anna", **fields)

    assert caught.value.missing == ("id",)
    assert caught.value.type_name == "Account"


def test_aggregate_ids_may_be_numbers_and_uuids() -> None:
    class Numbered(AggregateRoot[int]):
        pass

    class Unique(AggregateRoot[UUID]):
        id: UUID = Field(default_factory=uuid4)

    numbered, unique = Numbered(id=0), Unique()
    numbered.add_event(AccountLooked())
    unique.add_event(AccountLooked())

    assert numbered.id == 0
    assert numbered.pending_events[0].aggregate_id == "0"
    assert unique.pending_events[0].aggregate_id == str(unique.id)
    with pytest.raises(pydantic.ValidationError):
        Numbered(id="seven")  # type: ignore[arg-type]


def test_rehydration_restores_state_and_version_from_events() -> None:
    account = Account.rehydrate(
        "a-1", [AccountOpened(owner="anna"), MoneyPaidIn(amount=Decimal(3))]
    )

    assert account == Account(id="a-1", owner="anna", balance=Decimal(3))
    assert (account.version, account.uncommitted_event_count, account.pending_events) == (2, 0, ())


def test_rehydration_decodes_stored_events() -> None:
    account = Account.rehydrate(
        "a-1",
        [Stored("AccountOpened", {"owner": "anna"}), Stored("MoneyPaidIn", {"amount": "3.10"})],
    )

    assert account.balance == Decimal("3.10")
    assert account.version == 2


def test_apply_event_accepts_typed_and_stored_events() -> None:
    account = Account.create_empty("a-1")

    account.apply_event(AccountOpened(owner="anna"))
    account.apply_event(Stored("MoneyPaidIn", {"amount": "1"}))

    assert (account.owner, account.balance, account.version) == ("anna", Decimal(1), 2)
    assert account.pending_events == ()


@pytest.mark.parametrize("nothing", [None, 7, {"event_type": "AccountOpened"}])
def test_apply_event_rejects_objects_that_are_not_events(nothing: Any) -> None:
    with pytest.raises(EventApplicationError, match="pass a DomainEvent, or a stored event"):
        Account.create_empty("a-1").apply_event(nothing)


def test_error_for_an_unknown_stored_event_lists_known_events() -> None:
    class Own(AggregateRoot[str]):
        event_registry = EventTypeRegistry()

    Own.event_registry.register(AccountOpened)

    with pytest.raises(EventApplicationError, match="AccountOpenedd") as caught:
        Own.rehydrate("o-1", [Stored("AccountOpenedd")])

    assert isinstance(caught.value.__cause__, UnknownTypeError)
    assert "there is AccountOpened" in str(caught.value.__cause__)


def test_rehydration_error_names_a_required_field_that_no_event_sets() -> None:
    with pytest.raises(EventApplicationError, match=r"owner: missing \(no event sets it\)") as e:
        Account.rehydrate("a-1", [MoneyPaidIn(amount=Decimal(1))])

    assert e.value.field == "owner"
    assert (e.value.aggregate_type, e.value.event_type) == ("Account", "MoneyPaidIn")


def test_rehydration_error_names_a_field_that_is_read_before_it_is_set() -> None:
    class Greedy(AggregateRoot[str]):
        total: int

        def apply_AccountLooked(self, event: AccountLooked) -> None:
            self.total += 1

    with pytest.raises(EventApplicationError, match="total was read before an event set it") as e:
        Greedy.rehydrate("g-1", [AccountLooked()])

    assert e.value.field == "total"


def test_validators_run_once_at_the_end_of_rehydration() -> None:
    runs: list[int] = []

    class Checked(AggregateRoot[str]):
        model_config = pydantic.ConfigDict(validate_assignment=True)
        total: int = 0

        @field_validator("total")
        @classmethod
        def _not_negative(cls, value: int) -> int:
            runs.append(value)
            if value < 0:
                raise ValueError("must not be negative")
            return value

        def apply_MoneyPaidIn(self, event: MoneyPaidIn) -> None:
            self.total += int(event.amount)

    checked = Checked.rehydrate("c-1", [MoneyPaidIn(amount=Decimal(n)) for n in (-1, 2, 3)])

    assert checked.total == 4
    assert runs == [4]
    with pytest.raises(EventApplicationError, match="not valid after MoneyPaidIn: total"):
        Checked.rehydrate("c-1", [MoneyPaidIn(amount=Decimal(-1))])
    with pytest.raises(EventApplicationError, match=r"\(total: value_error\)"):
        checked.add_event(MoneyPaidIn(amount=Decimal(-9)))
    assert checked.total == 4


class Renamed(AggregateRoot[str]):
    owner: str = Field(default="nobody", alias="ownerName")


class Camel(AggregateRoot[str]):
    model_config = pydantic.ConfigDict(alias_generator=to_camel)
    id: str = Field(alias="id")
    owner: str = Field(default="nobody", validation_alias=AliasChoices(AliasPath("o", 1), "oName"))
    second_name: str = "none"


class ByEither(AggregateRoot[str]):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    owner: str = Field(default="nobody", alias="ownerName")


class Inside(AggregateRoot[str]):
    owner: str = Field(default="nobody", validation_alias=AliasPath("names", 0))


@pytest.mark.parametrize("kind", [Renamed, Camel, ByEither, Inside])
def test_rehydrated_field_with_an_alias_keeps_the_value_of_its_event(kind: Any) -> None:
    def apply(aggregate: Any, event: AccountOpened) -> None:
        aggregate.owner = event.owner
        if "second_name" in kind.model_fields:
            aggregate.second_name = event.owner

    aliased: Any = type("Aliased", (kind,), {"apply_AccountOpened": apply})

    account = aliased.rehydrate("a-1", [AccountOpened(owner="ann")])

    assert account.owner == "ann"
    assert getattr(account, "second_name", "ann") == "ann"


def test_rehydration_without_events_returns_an_aggregate_at_version_zero() -> None:
    assert Account.rehydrate("a-1", []).version == 0


def test_copies_of_an_aggregate_have_separate_pending_events() -> None:
    account = Account.open("a-1", "anna")
    copies = [
        copy.copy(account),
        copy.deepcopy(account),
        account.model_copy(),
        pickle.loads(pickle.dumps(account)),
    ]

    account.pay_in(Decimal(1))

    for other in copies:
        assert (other.uncommitted_event_count, len(other.pending_events)) == (1, 1)
        other.collect_events()
    assert len(account.pending_events) == 2


def test_aggregate_loaded_from_json_keeps_its_fields_and_has_no_pending_events() -> None:
    account = Account.open("a-1", "anna")

    loaded = Account.model_validate_json(account.model_dump_json())

    assert loaded.model_dump() == account.model_dump()
    assert "version" not in account.model_dump()
    assert (loaded.version, loaded.pending_events) == (0, ())


def test_aggregate_subclass_inherits_and_overrides_handler_methods() -> None:
    class Savings(Account):
        interest: int = 0

        def apply_MoneyPaidIn(self, event: MoneyPaidIn) -> None:
            super().apply_MoneyPaidIn(event)
            self.interest += 1

    savings = Savings(id="s-1", owner="anna")
    savings.pay_in(Decimal(5))

    assert (savings.balance, savings.interest) == (Decimal(5), 1)
    assert savings.pending_events[0].aggregate_type == "Savings"


def test_stored_name_of_an_aggregate_type_can_be_set() -> None:
    class RenamedAccount(Account):
        aggregate_type = "Account"

    renamed = RenamedAccount.open("a-1", "anna")

    assert renamed.pending_events[0].aggregate_type == "Account"


def test_aggregate_rejects_nan_and_infinity() -> None:
    class Scale(AggregateRoot[str]):
        grams: float

    for value in (float("nan"), float("inf")):
        with pytest.raises(pydantic.ValidationError):
            Scale(id="s", grams=value)


def test_method_marked_with_when_applies_several_event_types() -> None:
    class Diary(AggregateRoot[str]):
        entries: list[str] = Field(default_factory=list)

        @when(AccountOpened, AccountLooked)
        def note(self, event: DomainEvent) -> None:
            self.entries.append(event.event_type)

    diary = Diary(id="d-1")
    diary.add_event(AccountOpened(owner="anna"))
    diary.add_event(AccountLooked())

    assert diary.entries == ["AccountOpened", "AccountLooked"]


class RecordsInConstructor(AggregateRoot[str]):
    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.add_event(Created())


class RecordsAfterInit(AggregateRoot[str]):
    _note: str = pydantic.PrivateAttr(default="")

    def model_post_init(self, context: object, /) -> None:
        self.add_event(Created())


class RecordsInValidator(AggregateRoot[str]):
    @pydantic.model_validator(mode="after")
    def _record(self) -> RecordsInValidator:
        self.add_event(Created())
        return self


class Created(DomainEvent):
    pass


@pytest.mark.parametrize("kind", [RecordsInConstructor, RecordsAfterInit, RecordsInValidator])
def test_aggregate_cannot_record_an_event_while_it_is_constructed(kind: type[Any]) -> None:
    with pytest.raises(EventApplicationError, match="recorded Created while it was constructed"):
        kind(id="a")


def test_load_of_an_aggregate_that_records_events_while_it_is_constructed_fails() -> None:
    with pytest.raises(EventApplicationError):
        RecordsAfterInit.model_validate({"id": "a"})
    with pytest.raises(EventApplicationError):
        RecordsAfterInit.create_empty("a")


def test_replayed_aggregate_has_the_defaults_of_its_private_attributes() -> None:
    class Counter(AggregateRoot[str]):
        _seen: int = pydantic.PrivateAttr(default=0)

        @when(Created)
        def _count(self, event: Created) -> None:
            self._seen += 1

    assert Counter.rehydrate("c", [Created(), Created()])._seen == 0
