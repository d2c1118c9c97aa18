"""Types of results that commands and handlers may declare, and that handlers return."""

from __future__ import annotations

import collections.abc
import dataclasses
from typing import Annotated, Any, Generic, Literal, NewType, Protocol, TypeVar

import pydantic
import pytest
import typing_extensions

from cqrs_ddd_core import Command, CommandResponse, HandlerRegistry, Mediator
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import HandlerResultError

T = TypeVar("T")


class Size(typing_extensions.TypedDict):
    width: int


class Page(pydantic.BaseModel, Generic[T]):
    items: tuple[T, ...] = ()


@dataclasses.dataclass
class Pair(Generic[T]):
    first: T


class Named(Protocol):
    name: str


class Person:
    name = "Ada"


PersonId = NewType("PersonId", int)
Number = typing_extensions.TypeAliasType("Number", int | float)
Many = typing_extensions.TypeAliasType("Many", list[T], type_params=(T,))

RIGHT: list[tuple[Any, Any]] = [
    (Size, {"width": 1}),
    (Size | None, None),
    (list[Size], [{"width": 1}]),
    (Annotated[int, "metres"], 1),
    (Annotated[int | None, "metres"], None),
    (CommandResponse[int | None], None),
    (CommandResponse[Page[int]] | int, 1),
    (Page[int], Page[int](items=(1,))),
    (Page[int], Page(items=(1,))),
    (Page[Annotated[int, "metres"]] | None, Page()),
    (Pair[int], Pair(1)),
    (PersonId, PersonId(1)),
    (Number, 1.5),
    (Many[int], [1]),
    (Named, Person()),
    (Literal["a", "b"], "a"),
    (tuple[int, ...], (1,)),
    (list[Page[int]], [Page()]),
    (dict[str, Any], {}),
    (collections.abc.Sequence[int], (1,)),
    (type[Person], Person),
    (complex, 1),
    (float | None, 1),
    (None, None),
    (Any, object()),
]
WRONG: list[tuple[Any, Any, str]] = [
    (Size, [1], "list for Declared, not dict"),
    (Annotated[int, "metres"], "1", "str for Declared, not int"),
    (Page[int], [1], "list for Declared, not Page"),
    (Page[int] | None, 1, "int for Declared, not Page or NoneType"),
    (PersonId, "1", "str for Declared, not int"),
    (Number, "1", "str for Declared, not int or float"),
    (Many[int], 1, "int for Declared, not list"),
    (list[Size], {}, "dict for Declared, not list"),
]


async def send(declared: Any, result: object, *, by_handler: bool = False) -> object:
    class Declared(Command[Any if by_handler else declared]):  # type: ignore[misc]
        pass

    async def handle(command: object) -> object:
        return result

    if by_handler:
        handle.__annotations__["return"] = declared
    handlers = HandlerRegistry()
    handlers.register_command_handler(Declared, handle)
    mediator = Mediator(handlers, uow_factory=InMemoryUnitOfWork)
    answer: object = (await mediator.send(Declared())).result
    return answer


@pytest.mark.parametrize("by_handler", [False, True], ids=["command", "handler"])
@pytest.mark.parametrize(
    ("declared", "result"), RIGHT, ids=[str(declared) for declared, _ in RIGHT]
)
async def test_result_of_the_declared_type_is_accepted(
    declared: Any, result: object, by_handler: bool
) -> None:
    assert await send(declared, result, by_handler=by_handler) is result


async def test_result_with_an_annotation_that_has_no_hash_is_accepted() -> None:
    # In the hint of a handler: the oldest pydantic cannot build Command[...] of it.
    assert await send(Annotated[int, ["metres"]], 1, by_handler=True) == 1


@pytest.mark.parametrize(
    ("declared", "result", "problem"), WRONG, ids=[str(declared) for declared, *_ in WRONG]
)
async def test_result_of_another_type_than_declared_is_rejected(
    declared: Any, result: object, problem: str
) -> None:
    with pytest.raises(HandlerResultError) as caught:
        await send(declared, result)

    assert problem in str(caught.value)
