"""Tests of repositories over mapped aggregates with every kind of field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
    NaiveDatetimeError,
    OptimisticConcurrencyError,
    SerializationError,
    ValidationError,
)
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_persistence_sqlalchemy.repository.row_reader import RowReader
from cqrs_ddd_persistence_sqlalchemy.repository.row_writer import RowWriter
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions
from tests.persistence_sqlalchemy.conftest import SessionFactory
from tests.persistence_sqlalchemy.shop import (
    Base,
    Email,
    Line,
    Order,
    OrderModel,
    Place,
    Price,
    Priority,
    Status,
    Window,
    order_mapper,
)

Orders = SQLAlchemyRepository[Order, UUID]
FAR = timezone(timedelta(hours=5, minutes=45))


@pytest.fixture
async def orders(engine: AsyncEngine, session_factory: SessionFactory) -> AsyncIterator[Orders]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield SQLAlchemyRepository(Order, OrderModel, session_factory, mapper=order_mapper())
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


def _full_order() -> Order:
    return Order(
        id=uuid4(),
        owner="naïve ☃ 'quoted'",
        status=Status.SHIPPED,
        shown_status=Status.SHIPPED,
        priority=Priority.HIGH,
        email=Email("a@example.org"),
        total=Decimal("12345678901234.5678"),
        price=Price(amount=Decimal("0.10"), currency="SEK"),
        discount=Price(amount=Decimal("-0.30")),
        window=Window(price=Price(amount=Decimal("1.00"))),
        place=Place(
            city="Göteborg",
            lines=("one", "two"),
            known_since=datetime(2026, 1, 31, 12, tzinfo=FAR),
        ),
        places=[Place(city="Lund"), Place(city="")],
        labels={"nested": {"deep": [1, 2.5, None, True, "x"]}, "": ""},
        tags=frozenset({"a", "b"}),
        ordered_at=datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=FAR),
        due=date(2026, 2, 28),
        opens=time(9, 30, 15, 123),
        lasts=timedelta(days=3, microseconds=5),
        weight=0.1 + 0.2,
        count=2**62,
        paid=False,
        photo=b"\x00\xff",
        reference=uuid4(),
        shouted="loud",
        lines=[
            Line(sku="b", quantity=2, price=Price(amount=Decimal("2.50"))),
            Line(sku="a", quantity=1, price=Price(amount=Decimal("0.05"), currency="SEK")),
        ],
        notes=(Price(amount=Decimal("3.00")), Price(amount=Decimal("1.00"))),
        created_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        created_by="ada",
    )


async def test_aggregate_with_every_kind_of_field_is_read_back_unchanged(orders: Orders) -> None:
    order = _full_order()

    await orders.add(order)
    found = await orders.get(order.id)

    assert found == order
    assert found is not None
    assert repr(found.total) == "Decimal('12345678901234.5678')"
    assert found.price.model_dump_json() == '{"amount":"0.10","currency":"SEK"}'
    assert found.ordered_at is not None
    assert found.ordered_at.utcoffset() is not None


async def test_aggregate_with_none_and_empty_values_is_read_back_unchanged(orders: Orders) -> None:
    order = Order(id=uuid4(), owner="")

    await orders.add(order)

    assert await orders.get(order.id) == order


async def test_json_column_of_a_field_that_is_none_is_null(
    orders: Orders, engine: AsyncEngine
) -> None:
    await orders.add(Order(id=uuid4(), owner=""))

    async with engine.connect() as connection:
        nulls = await connection.scalar(text("SELECT count(*) FROM orders WHERE place IS NULL"))

    assert nulls == 1


async def test_column_without_a_field_gets_its_default(orders: Orders, engine: AsyncEngine) -> None:
    await orders.add_many([Order(id=uuid4(), owner=name) for name in ("a", "b")])

    async with engine.connect() as connection:
        assert list(await connection.scalars(text("SELECT stock FROM orders"))) == [7, 7]


async def test_parts_are_replaced_and_deleted_with_their_aggregate(
    orders: Orders, engine: AsyncEngine
) -> None:
    order, other = _full_order(), _full_order()
    await orders.add_many([order, other])
    order.lines = [Line(sku="c", quantity=1, price=Price(amount=Decimal(1))), *order.lines[:1]]
    order.notes = ()

    await orders.add(order)
    found = await orders.get(order.id)
    await orders.delete(order.id)

    assert found == order
    assert await orders.list_all([order.id, other.id]) == [other]
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM order_lines")) == 2
        assert await connection.scalar(text("SELECT count(*) FROM order_notes")) == 2


async def test_stale_aggregate_does_not_change_the_stored_parts(orders: Orders) -> None:
    order = _full_order()
    await orders.add(order)
    stale = await orders.get(order.id)
    await orders.add(order)
    assert stale is not None
    stale.lines = []

    with pytest.raises(OptimisticConcurrencyError):
        await orders.add(stale)

    assert await orders.get(order.id) == order


async def test_value_rejected_between_two_statements_prevents_the_commit(
    orders: Orders, session_factory: SessionFactory
) -> None:
    order, other = sorted((_full_order(), _full_order()), key=lambda each: str(each.id))
    await orders.add_many([order, other])

    async def save_and_commit(change: Callable[[Order], None]) -> None:
        async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
            found = await orders.list_all([order.id, other.id], uow)
            for each in found:
                each.owner = "changed"
            change(found[1])
            with pytest.raises(ValidationError, match="does not fit"):
                await orders.add_many(found, uow)

    def change_a_part(found: Order) -> None:
        found.lines = [Line(sku="c", quantity=1, price=Price(amount=Decimal("1.005")))]

    def change_itself(found: Order) -> None:
        found.price = Price(amount=Decimal("1.005"))

    for change in (change_a_part, change_itself):
        with pytest.raises(InvalidOperationError, match="only be rolled back after Validation"):
            await save_and_commit(change)

    assert await orders.list_all([order.id, other.id]) == [order, other]


async def test_value_rejected_before_the_first_statement_keeps_the_unit_of_work_usable(
    orders: Orders, session_factory: SessionFactory
) -> None:
    order, other = sorted((_full_order(), _full_order()), key=lambda each: str(each.id))
    await orders.add_many([order, other])

    async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
        found = await orders.list_all([order.id, other.id], uow)
        found[0].owner = found[1].owner = "changed"
        found[1].__dict__["places"] = ["Lund"]
        with pytest.raises(SerializationError):
            await orders.add_many(found, uow)
        new = _full_order()
        await orders.add(new, uow)

    assert await orders.list_all([order.id, other.id, new.id]) == [order, other, new]


async def test_save_cancelled_between_statements_cannot_be_committed(
    orders: Orders, session_factory: SessionFactory
) -> None:
    order = _full_order()
    await orders.add(order)

    async def cancel(*given: object) -> None:
        raise asyncio.CancelledError

    async def save_and_commit() -> None:
        async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
            found = await orders.get(order.id, uow)
            assert found is not None
            found.owner, found.lines = "changed", []
            with pytest.raises(asyncio.CancelledError):
                await orders.add(found, uow)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowWriter, "_write_parts", cancel)
        with pytest.raises(InvalidOperationError, match="work was interrupted"):
            await save_and_commit()

    assert await orders.get(order.id) == order


async def test_delete_that_waited_for_a_save_deletes_its_new_parts(
    orders: Orders, session_factory: SessionFactory, engine: AsyncEngine
) -> None:
    order = _full_order()
    order.lines, order.notes = [], ()
    await orders.add(order)
    saving, deleting = (SQLAlchemyUnitOfWork(session_factory=session_factory) for _ in range(2))

    async def delete() -> None:
        async with deleting:
            await orders.delete(order.id, deleting)

    async with saving:
        found = await orders.get(order.id, saving)
        assert found is not None
        found.lines = _full_order().lines
        await orders.add(found, saving)
        waiting = asyncio.ensure_future(delete())
        await asyncio.sleep(0.2)
    await waiting

    assert await orders.get(order.id) is None
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM order_lines")) == 0


async def test_aggregates_are_read_in_one_statement_per_table(
    orders: Orders, engine: AsyncEngine
) -> None:
    many = [_full_order() for _ in range(20)]
    await orders.add_many(many)
    statements: list[str] = []
    listen(engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    found = await orders.list_all([order.id for order in many])

    assert found == many
    assert len(statements) == 3


@contextmanager
def change_before_parts_are_read(change: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Run ``change`` once, after the rows of aggregates are read and before their parts are."""
    rounds: list[None] = []
    original = RowReader[Any]._add_parts

    async def change_once(self: RowReader[Any], *given: Any) -> Any:
        if not rounds:
            rounds.append(None)
            await change()
        return await original(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowReader, "_add_parts", change_once)
        yield


async def test_aggregate_in_a_list_is_never_read_with_parts_of_another_aggregate_version(
    orders: Orders,
) -> None:
    order, gone = _full_order(), _full_order()
    await orders.add_many([order, gone])
    changed = await orders.get(order.id)
    assert changed is not None
    changed.owner, changed.lines = "changed", []

    async def change() -> None:
        await orders.add(changed)
        await orders.delete(gone.id)

    with change_before_parts_are_read(change):
        found = await orders.list_all([gone.id, order.id])

    assert found == [changed]
    assert found[0].version == 2


async def test_aggregate_that_changes_during_get_is_read_again(
    orders: Orders,
) -> None:
    order = _full_order()
    await orders.add(order)
    changed = await orders.get(order.id)
    assert changed is not None
    changed.owner, changed.lines = "changed", []

    async def change() -> None:
        await orders.add(changed)

    with change_before_parts_are_read(change):
        found = await orders.get(order.id)

    assert found == changed


async def test_search_uses_the_field_paths_of_the_aggregate(orders: Orders) -> None:
    order, other = _full_order(), Order(id=uuid4(), owner="other")
    await orders.add_many([order, other])

    async def find(attribute: str, operator: str, value: object) -> list[Order]:
        criteria = AttributeSpecification(attribute, operator, value)
        return await (await orders.search(criteria))

    for attribute, operator, value in (
        ("id", "=", order.id),
        ("owner", "=", order.owner),
        ("status", "=", Status.SHIPPED),
        ("price.amount", "<", Decimal("0.11")),
        ("discount.currency", "=", "EUR"),
        ("window.price.amount", ">=", Decimal(1)),
        ("shown_status", "=", Status.SHIPPED),
        ("shown_status", "in", ["shipped ☃"]),
        ("priority", "=", Priority.HIGH),
        ("priority", "in", [10]),
        ("place.city", "=", "Göteborg"),
        ("places.city", "=", "Lund"),
        ("total", ">", Decimal("12345678901234.5677")),
        ("ordered_at", "=", datetime(2026, 1, 31, 6, 15, 0, 123456, tzinfo=timezone.utc)),
        ("lines.sku", "=", "a"),
        ("lines.price.currency", "=", "SEK"),
    ):
        expected = [order] if attribute != "price.amount" else [order, other]
        assert sorted(await find(attribute, operator, value), key=lambda o: o.owner) == expected


async def test_search_can_be_ordered_by_a_field_of_a_value_object(orders: Orders) -> None:
    amounts = [Decimal(amount) for amount in ("2", "10", "1.5")]
    await orders.add_many(
        [Order(id=uuid4(), owner="", price=Price(amount=amount)) for amount in amounts]
    )

    found = await (await orders.search(QueryOptions(ordering=("-price.amount",))))

    assert [order.price.amount for order in found] == sorted(amounts, reverse=True)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("colour", "unknown field 'colour'"),
        ("ownr", "did you mean 'owner'"),
        ("owner_name", "unknown field"),
        ("price.cost", "unknown field 'price.cost'"),
        ("owner.name", "unknown field"),
        ("lines.colour", "unknown field"),
        ("price", "is stored in several columns; use price.amount, price.currency"),
        ("lines", "is stored in several columns; use lines.sku"),
        ("place.known_since", "which JSON stores and compares as text; map it to its own column"),
        ("places.known_since", "which JSON stores and compares as text"),
        ("version", "unknown field"),
    ],
)
async def test_search_rejects_an_invalid_path_before_it_builds_sql(
    orders: Orders, path: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        await orders.search(AttributeSpecification(path, "=", "x"))
    if path not in ("lines", "lines.colour"):
        with pytest.raises(ValidationError):
            await orders.search(QueryOptions(ordering=(path,)))


async def test_value_that_does_not_fit_its_column_is_rejected_and_not_rounded(
    orders: Orders,
) -> None:
    for amount in ("0.001", "12345678901", "NaN"):
        order = Order(id=uuid4(), owner="").model_copy(
            update={"price": Price.model_construct(amount=Decimal(amount), currency="EUR")}
        )
        with pytest.raises(ValidationError, match="does not fit 12 digits, 2 of them after"):
            await orders.add(order)


async def test_aggregate_with_a_datetime_without_a_zone_is_rejected(orders: Orders) -> None:
    order = Order(id=uuid4(), owner="")
    order.ordered_at = datetime(2026, 1, 31)

    with pytest.raises(NaiveDatetimeError, match="2026-01-31T00:00:00, which has no time zone"):
        await orders.add(order)


async def test_json_field_with_a_value_of_another_type_is_not_written(orders: Orders) -> None:
    order = Order(id=uuid4(), owner="")
    order.__dict__["places"] = ["Lund"]

    with pytest.raises(SerializationError, match="JSON does not keep Order.places.0"):
        await orders.add(order)


async def test_number_too_large_for_its_column_is_rejected_by_name(orders: Orders) -> None:
    with pytest.raises(ValidationError, match="cannot save Order .*: column count .* of 64 bits"):
        await orders.add(Order(id=uuid4(), owner="", count=2**70))


async def test_aggregate_with_an_unset_field_cannot_be_saved(orders: Orders) -> None:
    with pytest.raises(InvalidOperationError, match="cannot save .*: owner was never set"):
        await orders.add(Order.create_empty(uuid4()))


async def test_row_that_the_aggregate_class_rejects_is_named_in_the_error(
    orders: Orders, engine: AsyncEngine
) -> None:
    order = Order(id=uuid4(), owner="")
    await orders.add(order)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE orders SET priority = 5"))

    with pytest.raises(SerializationError, match=f"row of Order {order.id} .*priority: enum"):
        await orders.get(order.id)
