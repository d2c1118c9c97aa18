"""Tests of fetches by the text of an id, such as from a URL, instead of the id itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from cqrs_ddd_advanced_core import (
    CachingPersistenceDispatcher,
    IOperationPersistence,
    IPersistenceDispatcher,
    IQueryPersistence,
    IRetrievalPersistence,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from cqrs_ddd_core import AggregateRoot, UnitOfWork
from cqrs_ddd_core.adapters.memory import (
    InMemoryCacheService,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.primitives.exceptions import HandlerResultError


class Account(AggregateRoot[UUID]):
    balance: int = 0


class Statement(BaseModel):
    """Result without an attribute that is known as its id."""

    number: UUID
    balance: int


class Line(NamedTuple):
    id: UUID
    balance: int


accounts = InMemoryRepository[Account, UUID](Account)


async def _load(ids: Sequence[Any], uow: UnitOfWork) -> list[Account]:
    await asyncio.sleep(0.001)
    found = await accounts.list_all([UUID(str(each)) for each in ids], uow)
    return sorted(found, key=lambda account: account.id)


class Accounts(IOperationPersistence[Account, UUID], IRetrievalPersistence[Account, UUID]):
    async def persist(self, entity: Account, uow: UnitOfWork) -> UUID:
        return await accounts.add(entity, uow)

    async def retrieve(self, ids: Sequence[UUID], uow: UnitOfWork) -> list[Account]:
        return await _load(ids, uow)


class Statements(IQueryPersistence[Statement, UUID]):
    async def fetch(self, ids: Sequence[UUID], uow: UnitOfWork) -> list[Statement]:
        return [Statement(number=a.id, balance=a.balance) for a in await _load(ids, uow)]


class Lines(IQueryPersistence[Line, UUID]):
    async def fetch(self, ids: Sequence[UUID], uow: UnitOfWork) -> list[Line]:
        return [Line(a.id, a.balance) for a in await _load(ids, uow) for _ in "ab"]


class Missing(BaseModel):
    id: UUID


class MissingQuery(IQueryPersistence[Missing, UUID]):
    async def fetch(self, ids: Sequence[UUID], uow: UnitOfWork) -> list[Missing]:
        return [None]  # type: ignore[list-item]


@pytest.fixture
def plain() -> PersistenceDispatcher:
    registry = PersistenceRegistry()
    registry.register_operation(Account, Accounts)
    registry.register_retrieval(Account, Accounts)
    registry.register_query(Statement, Statements)
    registry.register_query(Line, Lines)
    registry.register_query(Missing, MissingQuery)
    return PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)


@pytest.fixture(params=["plain", "cached"])
def dispatcher(
    request: pytest.FixtureRequest, plain: PersistenceDispatcher
) -> IPersistenceDispatcher:
    if request.param == "plain":
        return plain
    return CachingPersistenceDispatcher(plain, InMemoryCacheService())


async def _store(dispatcher: IPersistenceDispatcher, number: int = 1) -> list[Account]:
    accounts = [Account(id=uuid4()) for _ in range(number)]
    for account in accounts:
        await dispatcher.apply(account)
    return accounts


async def test_concurrent_fetches_by_the_text_of_an_id_all_find_the_aggregate(
    dispatcher: IPersistenceDispatcher,
) -> None:
    (account,) = await _store(dispatcher)

    found = await asyncio.gather(
        *(dispatcher.fetch_domain(Account, [str(account.id)]) for _ in range(5))
    )

    assert [len(each) for each in found] == [1] * 5


async def test_fetch_by_the_text_of_an_id_returns_the_changed_result(
    dispatcher: IPersistenceDispatcher,
) -> None:
    (account,) = await _store(dispatcher)
    text = str(account.id)
    assert [each.balance for each in await (await dispatcher.fetch(Statement, [text]))] == [0]

    async with InMemoryUnitOfWork() as uow:
        account.balance = 77
        await dispatcher.apply(account, uow)
        in_uow = await (await dispatcher.fetch(Statement, [text], uow))
    after = await (await dispatcher.fetch(Statement, [text]))

    assert [each.balance for each in (*in_uow, *after)] == [77, 77]


async def test_fetch_by_texts_of_ids_returns_each_object_once_in_their_order(
    dispatcher: IPersistenceDispatcher,
) -> None:
    stored = sorted(await _store(dispatcher, 5), key=lambda account: account.id, reverse=True)
    wanted = [account.id for account in stored]

    texts = [str(each) for each in wanted]

    assert [each.id for each in await dispatcher.fetch_domain(Account, texts)] == wanted
    assert [each.id for each in await (await dispatcher.fetch(Line, texts))] == wanted


async def test_query_handler_that_returns_none_for_a_missing_result_is_named(
    dispatcher: IPersistenceDispatcher,
) -> None:
    with pytest.raises(HandlerResultError, match="MissingQuery"):
        await (await dispatcher.fetch(Missing, [uuid4()]))
