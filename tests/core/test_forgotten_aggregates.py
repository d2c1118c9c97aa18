"""New aggregates that a command does not save."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from cqrs_ddd_core import Command, CommandResponse, HandlerRegistry, Mediator
from cqrs_ddd_core.adapters.memory import InMemoryRepository, InMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import UnsavedChangesError
from cqrs_ddd_core.testing.contracts.parcel import Parcel, ParcelWeighed, make_parcel


class Work(Command[object]):
    pass


Handler = Callable[[Work], Awaitable[object]]


class Office:
    def __init__(self) -> None:
        self.parcels = InMemoryRepository[Parcel, str](Parcel)
        self.kept = make_parcel()

    def mediator(self, handler: Handler) -> Mediator:
        handlers = HandlerRegistry()
        handlers.register_command_handler(Work, handler)
        return Mediator(handlers, uow_factory=InMemoryUnitOfWork)

    async def save_another(self, command: Work) -> None:
        await self.parcels.add(make_parcel())

    async def try_on_a_copy(self, command: Work) -> None:
        parcel = make_parcel()
        await self.parcels.add(parcel)
        parcel.model_copy(deep=True).weigh(1)

    async def save_a_copy(self, command: Work) -> None:
        copy = make_parcel().model_copy(update={"note": "copied"})
        await self.parcels.add(copy)

    async def discard(self, command: Work) -> None:
        make_parcel().collect_events()

    async def create_without_events(self, command: Work) -> None:
        Parcel(id="draft", owner="anna")

    async def return_the_events(self, command: Work) -> CommandResponse[None]:
        return CommandResponse(None, make_parcel().pending_events)

    async def change_a_parcel_from_outside(self, command: Work) -> None:
        self.kept.weigh(1)

    async def save_in_another_unit_of_work(self, command: Work) -> None:
        parcel = make_parcel()
        async with InMemoryUnitOfWork() as other:
            await self.parcels.add(parcel, other)

    async def delete_again(self, command: Work) -> None:
        parcel = make_parcel()
        await self.parcels.delete(await self.parcels.add(parcel))

    async def forget(self, command: Work) -> None:
        make_parcel()

    async def forget_a_later_one(self, command: Work) -> None:
        await self.parcels.add(make_parcel())
        parcel = Parcel(id="later", owner="anna")
        parcel.add_event(ParcelWeighed(grams=1))

    async def forget_and_keep_a_reference(self, command: Work) -> None:
        self.kept = make_parcel()


@pytest.mark.parametrize(
    "handler",
    [
        Office.save_another,
        Office.try_on_a_copy,
        Office.save_a_copy,
        Office.discard,
        Office.create_without_events,
        Office.return_the_events,
        Office.change_a_parcel_from_outside,
        Office.save_in_another_unit_of_work,
        Office.delete_again,
    ],
)
async def test_command_succeeds_if_no_event_of_a_new_aggregate_is_lost(
    handler: Callable[[Office, Work], Awaitable[object]],
) -> None:
    office = Office()

    await office.mediator(handler.__get__(office)).send(Work())


@pytest.mark.parametrize(
    "handler", [Office.forget, Office.forget_a_later_one, Office.forget_and_keep_a_reference]
)
async def test_command_fails_if_a_new_aggregate_with_events_is_not_saved(
    handler: Callable[[Office, Work], Awaitable[object]],
) -> None:
    office = Office()

    with pytest.raises(UnsavedChangesError, match="is new and was not saved") as caught:
        await office.mediator(handler.__get__(office)).send(Work())

    assert caught.value.aggregate_type == "Parcel"
    assert await office.parcels.list_all() == []


async def test_new_aggregate_of_a_handler_can_be_saved_later_in_the_callers_unit_of_work() -> None:
    office = Office()
    mediator = office.mediator(office.forget_and_keep_a_reference)

    async with InMemoryUnitOfWork() as uow:
        await mediator.send(Work())
        await office.parcels.add(office.kept, uow)
    with pytest.raises(UnsavedChangesError):
        async with InMemoryUnitOfWork():
            await mediator.send(Work())

    assert [parcel.owner for parcel in await office.parcels.list_all()] == ["anna"]


async def test_aggregates_of_one_command_do_not_affect_the_next_one() -> None:
    office = Office()

    with pytest.raises(UnsavedChangesError):
        await office.mediator(office.forget).send(Work())
    await office.mediator(office.save_another).send(Work())
    make_parcel()

    assert len(await office.parcels.list_all()) == 1
