from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from cqrs_ddd_core import Command, HandlerRegistry, Mediator, get_current_uow
from cqrs_ddd_core.adapters.memory import InMemoryLockStrategy, InMemoryUnitOfWork
from cqrs_ddd_core.middleware import CriticalSection, LockingMiddleware
from cqrs_ddd_core.ports import Placement, ResourceIdentifier
from cqrs_ddd_core.primitives.exceptions import LockAcquisitionError
from cqrs_ddd_core.testing.faults import cancel_sweep


class Move(Command[None]):
    source: str
    target: str

    def lock_keys(self) -> list[ResourceIdentifier]:
        return [_account(self.source), _account(self.target)]


class MoveTwice(Command[None]):
    def lock_keys(self) -> list[ResourceIdentifier]:
        return [_account("a")]


class Free(Command[None]):
    pass


def _account(name: str) -> ResourceIdentifier:
    return ResourceIdentifier("account", name)


class Bank:
    """Application that logs which locks are held while its handlers run."""

    def __init__(self) -> None:
        self.lock = InMemoryLockStrategy()
        self.log: list[str] = []
        self.handlers = HandlerRegistry()
        guard = LockingMiddleware(self.lock, timeout=5)
        self.mediator = Mediator(self.handlers, uow_factory=InMemoryUnitOfWork, middlewares=[guard])
        self.handlers.register_command_handler(Move, self.move)

    async def move(self, command: Move) -> None:
        self.log.append(f"{command.source}{command.target} begins")
        uow = get_current_uow()
        assert uow is not None
        uow.on_commit(self.log_commit)
        await asyncio.sleep(0.001)
        self.log.append(f"{command.source}{command.target} ends")

    async def log_commit(self) -> None:
        self.log.append("committed with " + ",".join(await self.list_held()))

    async def list_held(self) -> list[str]:
        return [name for name in "abc" if not await self.is_free(name)]

    async def is_free(self, name: str) -> bool:
        async def try_lock() -> bool:
            if free := await self.lock.acquire(str(_account(name)), timeout=0):
                await self.lock.release(str(_account(name)))
            return free

        return await asyncio.ensure_future(try_lock())


@pytest.fixture
def bank() -> Bank:
    return Bank()


def test_resource_identifier_is_named_and_sorted_by_type_and_id() -> None:
    assert str(ResourceIdentifier("account", "a")) == "account:a"
    assert sorted([_account("b"), _account("a")]) == [_account("a"), _account("b")]


async def test_locking_middleware_holds_locks_until_the_commit(bank: Bank) -> None:
    await bank.mediator.send(Move(source="b", target="a"))

    assert bank.log == ["ba begins", "ba ends", "committed with a,b"]
    assert await bank.list_held() == []


async def test_lock_log_catches_a_locking_middleware_that_releases_before_the_commit() -> None:
    class Naive(LockingMiddleware):
        placement: ClassVar[Placement] = Placement.INSIDE

    bank = Bank()
    mediator = Mediator(
        bank.handlers, uow_factory=InMemoryUnitOfWork, middlewares=[Naive(bank.lock)]
    )

    await mediator.send(Move(source="b", target="a"))

    assert bank.log[-1] == "committed with "


async def test_commands_that_share_locks_run_one_after_the_other_without_deadlock(
    bank: Bank,
) -> None:
    pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "a")] * 3

    await asyncio.wait_for(
        asyncio.gather(*(bank.mediator.send(Move(source=s, target=t)) for s, t in pairs)),
        timeout=30,
    )

    steps = [entry for entry in bank.log if "committed" not in entry]
    for begins, ends in zip(steps[::2], steps[1::2], strict=True):
        assert begins.removesuffix(" begins") == ends.removesuffix(" ends")


async def test_command_without_lock_keys_takes_no_lock(bank: Bank) -> None:
    async def free(command: Free) -> None:
        bank.log.append(",".join(await bank.list_held()))

    bank.handlers.register_command_handler(Free, free)

    await bank.mediator.send(Free())

    assert bank.log == [""]
    assert bank.mediator.explain(Move).needs_locks
    assert not bank.mediator.explain(Free).needs_locks


async def test_nested_commands_reuse_held_locks_and_keep_theirs_until_the_root_commits(
    bank: Bank,
) -> None:
    async def twice(command: MoveTwice) -> None:
        await bank.mediator.send(Move(source="a", target="b"))
        bank.log.append("between " + ",".join(await bank.list_held()))
        await bank.mediator.send(Move(source="b", target="c"))

    bank.handlers.register_command_handler(MoveTwice, twice)

    await bank.mediator.send(MoveTwice())

    assert bank.log == [
        "ab begins",
        "ab ends",
        "between a,b",
        "bc begins",
        "bc ends",
        "committed with a,b,c",
        "committed with a,b,c",
    ]
    assert await bank.list_held() == []


async def test_task_that_outlives_its_command_takes_its_own_locks(bank: Bank) -> None:
    ended = asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []

    async def send_later() -> None:
        await ended.wait()
        await bank.mediator.send(Move(source="a", target="b"))

    async def free(command: Free) -> None:
        tasks.append(asyncio.ensure_future(send_later()))

    bank.handlers.register_command_handler(Free, free)
    await bank.mediator.send(Free())
    ended.set()
    await tasks[0]

    assert bank.log[-1] == "committed with a,b"
    assert await bank.list_held() == []


async def test_command_that_cannot_get_a_lock_fails_and_releases_its_other_locks(
    bank: Bank,
) -> None:
    assert await bank.lock.acquire("account:b")
    impatient = Mediator(
        bank.handlers,
        uow_factory=InMemoryUnitOfWork,
        middlewares=[LockingMiddleware(bank.lock, timeout=0.01)],
    )

    with pytest.raises(LockAcquisitionError, match="account:b was not free within 0.01 s") as e:
        await asyncio.ensure_future(impatient.send(Move(source="a", target="b")))

    assert (e.value.resource, e.value.timeout) == ("account:b", 0.01)
    assert bank.log == []
    assert await bank.list_held() == ["b"]


async def test_command_cancelled_at_any_point_releases_every_lock(bank: Bank) -> None:
    async def send() -> None:
        await bank.mediator.send(Move(source="a", target="b"))

    async def check() -> None:
        assert await bank.list_held() == []

    assert await cancel_sweep(send, check) > 0


async def test_critical_section_takes_each_lock_once_in_sorted_order() -> None:
    lock = InMemoryLockStrategy()
    resources = [_account("b"), _account("a"), _account("b")]

    async with CriticalSection(lock, resources) as leases:
        assert list(leases) == [_account("a"), _account("b")]
        tokens = [lease.fencing_token for lease in leases.values()]
        assert tokens == sorted(tokens)
        assert not await asyncio.ensure_future(lock.acquire("account:a", timeout=0))

    assert await lock.acquire("account:a", timeout=0)
