"""Contract of units of work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ...ports import IEventStore, IInbox, IOutboxStorage, IRepository, UnitOfWork, get_current_uow
from ...primitives.exceptions import (
    ConcurrentUseError,
    InvalidOperationError,
    ReadOnlyError,
    UnsavedChangesError,
)
from ...unit_of_work import UnitOfWorkState
from ..assertions import raises
from ..faults import cancel_sweep
from .event_store import event, new_stream
from .outbox import message
from .parcel import Parcel, new_parcel_id


class UnitOfWorkWithStores(Protocol):
    """Unit of work that carries the stores of the core package."""

    @property
    def event_store(self) -> IEventStore:
        """Event store in this transaction."""
        ...

    @property
    def outbox(self) -> IOutboxStorage:
        """Outbox in this transaction."""
        ...

    @property
    def inbox(self) -> IInbox:
        """Inbox in this transaction."""
        ...

    async def __aenter__(self) -> UnitOfWorkWithStores: ...

    async def __aexit__(self, *error: Any) -> None: ...


NewUnitOfWorkWithStores = Callable[[], UnitOfWorkWithStores]
NewUnitOfWork = Callable[[], UnitOfWork]
Parcels = IRepository[Parcel, str]


class UnitOfWorkContract:
    """Contract of ``UnitOfWork``.

    Fixtures:
        new_uow: Returns a new unit of work of the class under test.
        parcels: An ``IRepository`` of ``Parcel`` that works in these units of work.
    """

    async def test_leaving_the_block_commits_the_unit_of_work(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()

        async with new_uow() as uow:
            await parcels.add(parcel, uow)

        assert uow.state is UnitOfWorkState.COMMITTED
        assert await parcels.get(parcel.id) is not None

    async def test_second_commit_of_a_unit_of_work_does_nothing(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()
        calls: list[str] = []

        async with new_uow() as uow:
            await parcels.add(parcel, uow)
            uow.on_commit(_build_hook(calls, "hook"))
            await uow.commit()
            await uow.commit()

        assert calls == ["hook"]
        assert await parcels.get(parcel.id) is not None

    async def test_error_in_the_block_rolls_the_unit_of_work_back_and_reaches_the_caller(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()

        with raises(LookupError) as caught:
            async with new_uow() as uow:
                await parcels.add(parcel, uow)
                raise LookupError("in the block")

        assert str(caught.error) == "in the block"
        assert uow.state is UnitOfWorkState.ROLLED_BACK
        assert await parcels.get(parcel.id) is None

    async def test_explicit_rollback_undoes_changes_and_the_block_ends_without_error(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()

        async with new_uow() as uow:
            await parcels.add(parcel, uow)
            await uow.rollback()
            await uow.rollback()

        assert await parcels.get(parcel.id) is None

    async def test_cancelled_unit_of_work_rolls_back(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()
        added = asyncio.Event()

        async def work() -> None:
            async with new_uow() as uow:
                await parcels.add(parcel, uow)
                added.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(work())
        await added.wait()
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert await parcels.get(parcel.id) is None

    async def test_unit_of_work_cancelled_at_any_point_stores_everything_or_nothing(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        pair = [_parcel(), _parcel()]
        uows: list[UnitOfWork] = []

        async def work() -> None:
            pair[:] = [_parcel(), _parcel()]
            async with new_uow() as uow:
                uows.append(uow)
                for parcel in pair:
                    await parcels.add(parcel, uow)

        async def check() -> None:
            stored = await parcels.list_all([parcel.id for parcel in pair])
            committed = uows[-1].state is UnitOfWorkState.COMMITTED
            assert len(stored) == (2 if committed else 0)
            assert get_current_uow() is None

        suspensions = await cancel_sweep(work, check)

        assert suspensions > 0
        assert uows[-1].state is UnitOfWorkState.COMMITTED

    async def test_commit_hooks_run_in_order_after_the_commit(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()
        seen: list[object] = []

        async def look() -> None:
            async with new_uow() as other:
                seen.append(await parcels.get(parcel.id, other))

        async with new_uow() as uow:
            await parcels.add(parcel, uow)
            uow.on_commit(look)
            uow.on_commit(_build_hook(seen, "second"))
            assert seen == []

        assert seen[0] is not None
        assert seen[1:] == ["second"]

    async def test_commit_hooks_do_not_run_after_a_rollback(self, new_uow: NewUnitOfWork) -> None:
        calls: list[str] = []

        with raises(LookupError):
            async with new_uow() as uow:
                uow.on_commit(_build_hook(calls, "hook"))
                raise LookupError
        await uow.trigger_commit_hooks()

        assert calls == []

    async def test_failing_commit_hook_affects_neither_the_commit_nor_other_hooks(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()
        calls: list[str] = []

        async def fail() -> None:
            raise LookupError("in a hook")

        async def cancel_itself() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        async with new_uow() as uow:
            await parcels.add(parcel, uow)
            uow.on_commit(_build_hook(calls, "first"))
            uow.on_commit(fail)
            uow.on_commit(cancel_itself)
            uow.on_commit(_build_hook(calls, "last"))

        assert calls == ["first", "last"]
        assert await parcels.get(parcel.id) is not None

    async def test_finished_unit_of_work_rejects_further_work(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        async with new_uow() as committed:
            pass
        async with new_uow() as rolled_back:
            await rolled_back.rollback()

        for uow in (committed, rolled_back):
            with raises(InvalidOperationError):
                await parcels.get("any", uow)
            with raises(InvalidOperationError):
                uow.on_commit(_build_hook([], "late"))
            with raises(InvalidOperationError):
                async with uow:
                    pass
        with raises(InvalidOperationError):
            await rolled_back.commit()
        with raises(InvalidOperationError):
            await committed.rollback()

    async def test_innermost_open_unit_of_work_is_the_current_unit_of_work(
        self, new_uow: NewUnitOfWork
    ) -> None:
        async with new_uow() as outer:
            async with new_uow() as inner:
                assert get_current_uow() is inner
                await inner.commit()
                assert get_current_uow() is None
            assert get_current_uow() is outer

        assert get_current_uow() is None

    async def test_call_without_a_uow_argument_joins_the_current_unit_of_work(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()

        async with new_uow() as uow:
            await parcels.add(parcel)
            await uow.rollback()

        assert await parcels.get(parcel.id) is None

    async def test_task_that_outlives_the_block_does_not_join_its_unit_of_work(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()
        ended = asyncio.Event()

        async def later() -> Parcel | None:
            await ended.wait()
            return await parcels.get(parcel.id)

        async with new_uow() as uow:
            await parcels.add(parcel, uow)
            task = asyncio.ensure_future(later())
            await asyncio.sleep(0)
        ended.set()

        assert await task is not None

    async def test_unit_of_work_rejects_concurrent_use_by_two_tasks(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        async with new_uow() as uow:
            answers = await asyncio.gather(
                parcels.get("one", uow), parcels.get("two", uow), return_exceptions=True
            )
            await parcels.get("three", uow)

        assert [type(answer) for answer in answers] == [type(None), ConcurrentUseError]

    async def test_unit_of_work_can_be_used_by_two_tasks_in_sequence(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()

        async with new_uow() as uow:
            await asyncio.wait_for(parcels.add(parcel, uow), timeout=30)
            found = await asyncio.wait_for(parcels.get(parcel.id, uow), timeout=30)

        assert found is not None

    async def test_commit_rejects_events_recorded_after_the_last_save(
        self, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()

        with raises(UnsavedChangesError):
            async with new_uow() as uow:
                await parcels.add(parcel, uow)
                parcel.weigh(5)

        assert await parcels.get(parcel.id) is None
        assert parcel.version == 0


class ReadOnlyUnitOfWorkContract:
    """Contract of a ``UnitOfWork`` that only reads, as a query needs it.

    Fixtures:
        new_read_only_uow: Returns a new read-only unit of work of the class under test.
        new_uow: Returns a new ordinary unit of work on the same data.
        parcels: An ``IRepository`` of ``Parcel`` that works in these units of work.
    """

    async def test_read_only_unit_of_work_reads_stored_aggregates_and_then_rolls_back(
        self, new_read_only_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()
        await parcels.add(parcel)

        async with new_read_only_uow() as uow:
            found = await parcels.get(parcel.id)
            listed = await parcels.list_all([parcel.id], uow)

        assert uow.read_only
        assert found is not None
        assert [each.id for each in listed] == [parcel.id]
        assert uow.state is UnitOfWorkState.ROLLED_BACK

    async def test_read_only_unit_of_work_rejects_a_save_and_a_deletion(
        self, new_read_only_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        old, new = _parcel(), _parcel()
        await parcels.add(old)

        with raises(ReadOnlyError) as saved:
            async with new_read_only_uow() as uow:
                await parcels.add(new, uow)
        with raises(ReadOnlyError):
            async with new_read_only_uow():
                await parcels.delete(old.id)

        assert "send a command" in str(saved.error)
        assert await parcels.get(old.id) is not None
        assert await parcels.get(new.id) is None

    async def test_read_only_unit_of_work_can_only_be_rolled_back_after_a_write(
        self, new_read_only_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        async with new_read_only_uow() as uow:
            with raises(ReadOnlyError):
                await parcels.add(_parcel(), uow)
            with raises(InvalidOperationError):
                await parcels.get("any", uow)

        assert uow.state is UnitOfWorkState.ROLLED_BACK

    async def test_read_only_unit_of_work_rejects_commit_hooks(
        self, new_read_only_uow: NewUnitOfWork
    ) -> None:
        async with new_read_only_uow() as uow:
            with raises(ReadOnlyError):
                uow.on_commit(_build_hook([], "hook"))

    async def test_read_only_unit_of_work_sees_what_others_commit_between_two_reads(
        self, new_read_only_uow: NewUnitOfWork, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        parcel = _parcel()

        async with new_read_only_uow() as reader:
            before = await parcels.get(parcel.id, reader)
            async with new_uow() as writer:
                await parcels.add(parcel, writer)
            after = await parcels.get(parcel.id, reader)

        assert before is None
        assert after is not None

    async def test_writers_are_not_affected_by_a_read_only_unit_of_work_cancelled_at_any_point(
        self, new_read_only_uow: NewUnitOfWork, new_uow: NewUnitOfWork, parcels: Parcels
    ) -> None:
        async def read() -> None:
            async with new_read_only_uow() as uow:
                await parcels.get("any", uow)

        async def write() -> None:
            parcel = _parcel()
            async with new_uow() as uow:
                await parcels.add(parcel, uow)
            assert await parcels.get(parcel.id) is not None

        assert await cancel_sweep(read, write) > 0


class ReadOnlyStoresContract:
    """Contract of the stores that a read-only ``UnitOfWork`` carries.

    Fixtures:
        new_read_only_uow: Returns a new read-only unit of work with ``event_store``, ``outbox`` and
            ``inbox``.
    """

    async def test_stores_of_a_read_only_unit_of_work_can_be_read(
        self, new_read_only_uow: NewUnitOfWorkWithStores
    ) -> None:
        async with new_read_only_uow() as uow:
            assert await uow.event_store.get_events(new_stream().aggregate_id) == []
            await uow.outbox.get_pending()

    async def test_stores_of_a_read_only_unit_of_work_reject_every_write(
        self, new_read_only_uow: NewUnitOfWorkWithStores
    ) -> None:
        stream, letter = new_stream(), message(None)
        writes: list[Callable[[UnitOfWorkWithStores], Awaitable[object]]] = [
            lambda uow: uow.event_store.append(event(stream, 1)),
            lambda uow: uow.event_store.append_batch([event(stream, 1)]),
            lambda uow: uow.outbox.save_messages([letter]),
            lambda uow: uow.outbox.mark_published([letter.message_id]),
            lambda uow: uow.outbox.mark_failed(letter.message_id, "no answer"),
            lambda uow: uow.inbox.register("consumer", letter.message_id, "fingerprint"),
            lambda uow: uow.inbox.store_outcome("consumer", letter.message_id, 1),
        ]

        for write in writes:
            with raises(ReadOnlyError):
                async with new_read_only_uow() as uow:
                    await write(uow)

        async with new_read_only_uow() as uow:
            assert await uow.event_store.get_events(stream.aggregate_id) == []
            assert letter.message_id not in [m.message_id for m in await uow.outbox.get_pending()]


def _parcel() -> Parcel:
    return Parcel.register(new_parcel_id(), owner="anna")


def _build_hook(calls: list[Any], word: str) -> Callable[[], Any]:
    async def hook() -> None:
        calls.append(word)

    return hook
