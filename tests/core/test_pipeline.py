from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest

from cqrs_ddd_core import (
    CommandResponse,
    EventStorePersistenceMiddleware,
    HandlerRegistry,
    IMiddleware,
    LoggingMiddleware,
    Mediator,
)
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.cqrs.pipeline import chain
from cqrs_ddd_core.ports.middleware import Placement
from cqrs_ddd_core.primitives.exceptions import MiddlewareError

Next = Callable[[Any], Awaitable[Any]]


class Marking(IMiddleware):
    def __init__(self, mark: str) -> None:
        self._mark = mark

    async def __call__(self, message: Any, next_: Next) -> Any:
        response = await next_(message + self._mark)
        return CommandResponse(response.result + self._mark)


class Inside(IMiddleware):
    placement: ClassVar[Placement] = Placement.INSIDE

    async def __call__(self, message: Any, next_: Next) -> Any:
        return await next_(message)


def _mediator(*middlewares: Any) -> Mediator:
    return Mediator(HandlerRegistry(), uow_factory=InMemoryUnitOfWork, middlewares=middlewares)


async def test_pipeline_wraps_its_last_step_in_middleware_order() -> None:
    async def last(message: str) -> CommandResponse[str]:
        return CommandResponse(message)

    step = chain([Marking("a"), Marking("b")], last, CommandResponse)

    assert (await step(">")).result == ">abba"


async def test_middleware_may_call_the_next_step_twice() -> None:
    calls: list[str] = []

    class Twice(IMiddleware):
        async def __call__(self, message: Any, next_: Next) -> Any:
            await next_(message)
            return await next_(message)

    async def last(message: str) -> CommandResponse[int]:
        calls.append(message)
        return CommandResponse(len(calls))

    step = chain([Twice()], last, CommandResponse)

    assert (await step("m")).result == 2


@pytest.mark.parametrize("answer", [None, "text", 0])
async def test_pipeline_rejects_a_middleware_result_that_is_not_a_response(answer: Any) -> None:
    class Answering(IMiddleware):
        async def __call__(self, message: Any, next_: Next) -> Any:
            return answer

    async def last(message: str) -> CommandResponse[int]:
        return CommandResponse(1)

    with pytest.raises(MiddlewareError, match="Answering returned .* for str; return await") as e:
        await chain([Answering()], last, CommandResponse)("m")

    assert "Answering" in e.value.middleware


def test_outer_middleware_listed_after_an_inner_middleware_is_rejected() -> None:
    with pytest.raises(MiddlewareError) as caught:
        _mediator(EventStorePersistenceMiddleware(), LoggingMiddleware())

    assert str(caught.value) == (
        "LoggingMiddleware runs outside the unit of work but is listed after "
        "EventStorePersistenceMiddleware, which runs inside the unit of work; list it before "
        "EventStorePersistenceMiddleware"
    )


def test_middleware_listed_twice_is_rejected() -> None:
    with pytest.raises(MiddlewareError, match="Inside is given twice; keep one"):
        _mediator(LoggingMiddleware(), Inside(), Inside())


class Synchronous(IMiddleware):
    def __call__(self, message: Any, next_: Next) -> Any:
        return next_(message)


async def _function(message: Any, next_: Next) -> Any:
    return await next_(message)


@pytest.mark.parametrize("nothing", [Synchronous(), _function, object(), None])
def test_mediator_rejects_objects_that_are_not_middlewares(nothing: Any) -> None:
    with pytest.raises(
        MiddlewareError, match="is not a middleware; subclass IMiddleware and write"
    ):
        _mediator(nothing)


def test_mediator_rejects_the_class_of_a_middleware_and_asks_for_an_object() -> None:
    with pytest.raises(
        MiddlewareError, match=r"LoggingMiddleware is a class.*pass LoggingMiddleware"
    ) as caught:
        _mediator(LoggingMiddleware)

    assert caught.value.middleware == "LoggingMiddleware"
