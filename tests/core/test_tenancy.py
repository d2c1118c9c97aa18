"""Tests of tenants: the request context, the system scope, and who opens them."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    CachingMixin,
    CachingRepository,
    Command,
    ConfigError,
    HandlerRegistry,
    InboxConsumer,
    InvalidOperationError,
    Mediator,
    MultitenantMixin,
    OutboxMessage,
    OutboxRelay,
    ResourceIdentifier,
    UnitOfWork,
    get_tenant_id,
    get_user_id,
    request_context,
    system_tenant,
)
from cqrs_ddd_core.adapters.memory import (
    InMemoryBackend,
    InMemoryCacheService,
    InMemoryInbox,
    InMemoryLockStrategy,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.application.health import check_health
from cqrs_ddd_core.context import bind_request
from cqrs_ddd_core.middleware import IdempotencyMiddleware, LockingMiddleware
from cqrs_ddd_core.spi.tenancy import get_visible_tenant
from cqrs_ddd_core.testing.contracts.tenancy import RepositoryTenancyContract


class Letter(AggregateRoot[str]):
    tenant_id: str | None = None
    title: str = ""


class Write(Command[str | None]):
    title: str


class WriteForBoth(Command[None]):
    def lock_keys(self) -> Sequence[ResourceIdentifier]:
        return [ResourceIdentifier("letter", "1")]


class LockLetter(WriteForBoth):
    pass


def test_system_scope_has_no_tenant_and_a_request_inside_it_leaves_it() -> None:
    with request_context(tenant_id="north", user_id="ada"):
        with system_tenant():
            assert (get_tenant_id(), get_user_id(), get_visible_tenant()) == (None, "ada", None)
            with request_context(tenant_id="south"):
                assert (get_tenant_id(), get_visible_tenant()) == ("south", "south")
            with request_context():
                assert get_visible_tenant() == ""
            assert get_visible_tenant() is None
        assert (get_tenant_id(), get_visible_tenant()) == ("north", "north")


def test_system_scope_can_be_left_in_another_context() -> None:
    scope = system_tenant()
    contextvars.copy_context().run(scope.__enter__)

    scope.__exit__(None, None, None)

    assert get_visible_tenant() == ""


@pytest.mark.parametrize("bad", ["", 7, "a\x00b", "half of a pair \ud83d", "x" * 256])
def test_tenant_id_that_no_database_can_keep_is_rejected(bad: Any) -> None:
    scope = request_context(tenant_id=bad)

    with pytest.raises(InvalidOperationError, match="pass None for a request without a tenant"):
        scope.__enter__()


async def test_bound_function_runs_in_the_request_or_the_system_scope_that_bound_it() -> None:
    async def read() -> tuple[str | None, str | None]:
        return get_tenant_id(), get_visible_tenant()

    with request_context(tenant_id="north"):
        of_north = bind_request(read)
    with system_tenant():
        of_all = bind_request(read)

    with request_context(tenant_id="south"):
        assert [await of_north(), await of_all()] == [("north", "north"), (None, None)]


async def test_command_id_of_a_tenant_does_not_answer_the_command_of_another_tenant() -> None:
    inbox, registry = InMemoryInbox(), HandlerRegistry()

    @registry.command_handler
    async def write(command: Write) -> str | None:
        return get_tenant_id()

    mediator = Mediator(
        registry,
        uow_factory=lambda: InMemoryUnitOfWork(inbox=inbox),
        middlewares=[IdempotencyMiddleware()],
    )
    answers = []
    for each in ("north", "south", None, "north"):
        with request_context(tenant_id=each):
            answers.append((await mediator.send(Write(title=f"{each}", command_id="c-1"))).result)

    assert answers == ["north", "south", None, "north"]


async def test_relay_publishes_each_message_in_the_request_of_its_tenant() -> None:
    outbox, published = InMemoryOutboxStorage(), []

    class Publisher(InMemoryMessageBus):
        async def publish(self, message: OutboxMessage) -> None:
            published.append((message.message_id, get_tenant_id(), get_visible_tenant()))

    for each in ("north", "south", None):
        with request_context(tenant_id=each):
            await outbox.save_messages([OutboxMessage("m-1", "Written", {}, partition_key="k")])
    with request_context(tenant_id="south"):
        assert await OutboxRelay(outbox, Publisher()).run_once() == 3
        assert get_tenant_id() == "south"

    assert published == [("m-1", each, each or "") for each in ("north", "south", None)]


async def test_consumer_handles_a_message_in_the_request_of_its_tenant_and_user() -> None:
    inbox, seen = InMemoryInbox(), []

    async def handle(message: OutboxMessage) -> None:
        seen.append((get_tenant_id(), get_user_id()))

    consumer = InboxConsumer("billing", handle, uow_factory=lambda: InMemoryUnitOfWork(inbox=inbox))
    requests: list[dict[str, object]] = [
        {"tenant_id": "north", "user_id": "ada"},
        {"tenant_id": "south"},
        {},
    ]
    for metadata in requests * 2:
        await consumer(OutboxMessage("m-1", "Written", {}, metadata))
    with pytest.raises(InvalidOperationError):
        await consumer(OutboxMessage("m-1", "Written", {}, {"tenant_id": 7}))

    assert seen == [("north", "ada"), ("south", None), (None, None)]


async def test_health_counts_the_messages_of_all_tenants() -> None:
    backend = InMemoryBackend()
    for each in ("north", "south"):
        with request_context(tenant_id=each):
            await backend.outbox.save_messages([OutboxMessage("m-1", "Written", {})])

    with request_context(tenant_id="north"):
        health = await check_health(backend, {}, (), is_open=True, timeout=1)

    assert health.backlog is not None
    assert health.backlog.waiting == 2


async def test_nested_command_of_another_tenant_takes_a_lock_of_its_own() -> None:
    lock, registry = InMemoryLockStrategy(), HandlerRegistry()
    found: list[bool] = []

    @registry.command_handler
    async def write_for_both(command: WriteForBoth) -> None:
        with request_context(tenant_id="south"):
            found.append(await lock.acquire("letter:1", timeout=0))
            await lock.release("letter:1")
            await mediator.send(LockLetter())

    @registry.command_handler
    async def lock_letter(command: LockLetter) -> None:
        found.append(await lock.acquire("letter:1", timeout=0))

    mediator = Mediator(
        registry, uow_factory=InMemoryUnitOfWork, middlewares=[LockingMiddleware(lock)]
    )
    with request_context(tenant_id="north"):
        await mediator.send(WriteForBoth())

    assert found == [True, False]


async def test_cache_is_invalidated_for_the_tenant_of_the_change_not_of_the_commit() -> None:
    cache, letters = InMemoryCacheService(), InMemoryRepository[Letter, str](Letter)
    cached = CachingRepository(letters, cache, Letter)
    with request_context(tenant_id="north"):
        await cached.add(Letter(id="1", title="old"))
        assert await cached.get("1")

    async with InMemoryUnitOfWork():
        with request_context(tenant_id="north"):
            letter = await letters.get("1")
            assert letter is not None
            letter.title = "new"
            await cached.add(letter)
            assert cache._values == {}
            await cache.set(cached._states.key("1"), "stale")

    assert cache._values == {}


def test_repository_before_the_tenant_mixin_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"write class Letters\(MultitenantMixin, InMemory"):

        class Letters(InMemoryRepository[Letter, str], MultitenantMixin[Letter, str]):
            pass


def test_repository_with_a_method_that_the_tenant_mixin_does_not_limit_is_rejected() -> None:
    class Archive(InMemoryRepository[Letter, str]):
        async def find_all(self, uow: UnitOfWork | None = None) -> list[Letter]:
            return [row.state for row in self._rows.values()]

        def size(self) -> int:
            return len(self._rows)

    with pytest.raises(ConfigError, match="does not know find_all, size of Archive; override"):

        class Letters(MultitenantMixin[Letter, str], Archive):
            pass


def test_repository_that_overrides_or_excuses_its_own_methods_is_accepted() -> None:
    class Archive(CachingMixin[Letter, str], InMemoryRepository[Letter, str]):
        tenant_free_methods = frozenset({"size"})

        async def find_all(self) -> list[Letter]:
            raise AssertionError("not limited to a tenant")

        def size(self) -> int:
            return len(self._rows)

    class Letters(MultitenantMixin[Letter, str], Archive):
        async def find_all(self) -> list[Letter]:
            return await self.list_all()

    class Special(Letters):
        async def find_special(self) -> list[Letter]:
            return await self.list_all()

    Special(Letter).use_cache(InMemoryCacheService(), Letter)


class TenantLetters(MultitenantMixin[Letter, str], InMemoryRepository[Letter, str]):
    pass


class TestRepositoryOfTenants(RepositoryTenancyContract):
    @pytest.fixture
    def tenant_repository(self) -> TenantLetters:
        return TenantLetters(Letter)

    @pytest.fixture
    def make_owned(self) -> Callable[[str], Letter]:
        return lambda letter_id: Letter(id=letter_id, title="a letter")


class ForgetfulLetters(TenantLetters):
    """Repository that ignores the tenant in one of its methods."""

    def __init__(self, method: str) -> None:
        super().__init__(Letter)
        setattr(self, method, partial(getattr(InMemoryRepository, method), self))


@pytest.mark.parametrize("method", ["add", "add_many", "get", "delete", "list_all", "search"])
async def test_repository_contract_catches_a_method_that_ignores_the_tenant(method: str) -> None:
    contract = RepositoryTenancyContract()
    failures = 0

    for test in (
        contract.test_tenant_sees_and_changes_its_own_aggregates_only,
        contract.test_aggregate_of_another_tenant_is_neither_saved_nor_replaced,
        contract.test_repository_of_tenants_needs_a_tenant,
    ):
        try:
            await test(ForgetfulLetters(method), lambda each: Letter(id=each, title="a letter"))
        except (AssertionError, InvalidOperationError):
            failures += 1

    assert failures
