from __future__ import annotations

import functools
from typing import Any

import pytest

from cqrs_ddd_core import (
    Command,
    CommandHandler,
    CommandResponse,
    DomainEvent,
    EventHandler,
    HandlerRegistry,
    Query,
    QueryHandler,
)
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    HandlerAlreadyRegisteredError,
    HandlerNotRegisteredError,
    HandlerRegistrationError,
)


class Greet(Command[str]):
    name: str


class GreetPolitely(Greet):
    pass


class Ask(Query[str]):
    pass


class Greeted(DomainEvent):
    pass


class GreetedPolitely(Greeted):
    pass


class GreetHandler(CommandHandler[str]):
    async def handle(self, command: Greet) -> str:
        return f"hello {command.name}"


class AskHandler(QueryHandler[str]):
    async def handle(self, query: Ask) -> str:
        return "42"


async def greet(command: Greet) -> str:
    return f"hello {command.name}"


async def greet_with(word: str, command: Greet) -> str:
    return f"{word} {command.name}"


class Greeter:
    """Callable with state."""

    async def __call__(self, command: Greet) -> str:
        return f"hello {command.name}"

    async def method(self, command: Greet) -> str:
        return f"hello {command.name}"

    @staticmethod
    async def static(command: Greet) -> str:
        return f"hello {command.name}"

    @classmethod
    async def class_method(cls, command: Greet) -> str:
        return f"hello {command.name}"


@pytest.fixture
def registry() -> HandlerRegistry:
    return HandlerRegistry()


@pytest.mark.parametrize(
    "handler",
    [
        GreetHandler(),
        GreetHandler,
        lambda: GreetHandler(),
        greet,
        functools.partial(greet_with, "hello"),
        Greeter(),
        Greeter().method,
        Greeter.static,
        Greeter.class_method,
    ],
    ids=[
        "instance",
        "class",
        "factory",
        "function",
        "partial",
        "callable",
        "method",
        "static method",
        "class method",
    ],
)
async def test_handler_can_be_registered_in_many_forms(
    registry: HandlerRegistry, handler: Any
) -> None:
    registry.register_command_handler(Greet, handler)

    assert await registry.get_handler(Greet).call(Greet(name="Ada")) == "hello Ada"


async def make_handler(kind: type[Any] = GreetHandler) -> Any:
    return kind()


@pytest.mark.parametrize(
    ("resolver", "handler"),
    [
        (make_handler, GreetHandler),
        (lambda kind: make_handler(kind), GreetHandler),
        (None, make_handler),
        (None, lambda: make_handler()),
    ],
    ids=["async resolver", "resolver of a coroutine", "async factory", "factory of a coroutine"],
)
async def test_resolver_and_factory_may_be_async(resolver: Any, handler: Any) -> None:
    registry = HandlerRegistry(resolver)
    registry.register_command_handler(Greet, handler)

    assert await registry.get_handler(Greet).call(Greet(name="Ada")) == "hello Ada"


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: None, "it was resolved to NoneType; return an object with async def handle"),
        (lambda: GreetHandler, "it was resolved to the class GreetHandler; return an object"),
        (lambda: make_handler(object), "it was resolved to object; return an object"),
    ],
    ids=["None", "class", "coroutine of an object"],
)
async def test_factory_of_something_else_than_a_handler_is_reported_with_the_next_step(
    made: Any, problem: str
) -> None:
    by_factory, by_resolver = HandlerRegistry(), HandlerRegistry(lambda kind: made())
    by_factory.register_command_handler(Greet, made)
    by_resolver.register_command_handler(Greet, GreetHandler)

    for registry in (by_factory, by_resolver):
        with pytest.raises(HandlerRegistrationError, match=problem):
            await registry.get_handler(Greet).call(Greet(name="Ada"))


@pytest.mark.parametrize("resolver", [3, lambda: None, lambda kind, scope: None])
def test_resolver_that_cannot_be_called_with_a_class_is_rejected(resolver: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be called with the class of a handler"):
        HandlerRegistry(resolver)


def test_wrapper_that_hides_the_parameters_of_a_handler_is_rejected(
    registry: HandlerRegistry,
) -> None:
    def sync_wrapper(*args: Any, **kwargs: Any) -> Any:
        return greet(*args, **kwargs)

    async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
        return await greet(*args, **kwargs)

    for wrapper in (sync_wrapper, async_wrapper):
        with pytest.raises(HandlerRegistrationError, match="use functools.wraps in its decorator"):
            registry.register_command_handler(Greet, wrapper)
    with pytest.raises(HandlerRegistrationError, match="write async def in its decorator"):
        registry.register_command_handler(Greet, functools.wraps(greet)(sync_wrapper))
    registry.register_command_handler(Greet, functools.wraps(greet)(async_wrapper))


async def test_resolver_creates_the_handler_for_each_message() -> None:
    made: list[type[Any]] = []

    def resolve(kind: type[Any]) -> Any:
        made.append(kind)
        return kind("hi")

    class Polite:
        def __init__(self, word: str) -> None:
            self._word = word

        async def handle(self, command: Greet) -> str:
            return f"{self._word} {command.name}"

    registry = HandlerRegistry(resolver=resolve)
    registry.register_command_handler(Greet, Polite)

    answers = [await registry.get_handler(Greet).call(Greet(name=n)) for n in ("a", "b")]

    assert answers == ["hi a", "hi b"]
    assert made == [Polite, Polite]


def test_handler_class_with_dependencies_needs_a_resolver(registry: HandlerRegistry) -> None:
    class Needy:
        def __init__(self, repository: object) -> None: ...

        async def handle(self, command: Greet) -> str:
            return ""

    with pytest.raises(
        HandlerRegistrationError, match="it needs repository to be created; register"
    ):
        registry.register_command_handler(Greet, Needy)


class NotAsync:
    def handle(self, command: Greet) -> str:
        return ""


class NoHandle:
    pass


class TwoMessages:
    async def handle(self, one: Greet, two: Greet) -> str:
        return ""


class NoMessage:
    async def handle(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (NotAsync(), "it is not async; write async def"),
        (NotAsync, "it is not async"),
        (NoHandle, "it has no handle method"),
        (NoHandle(), "it is not callable and has no handle method"),
        (TwoMessages(), r"it takes \(one, two\), not exactly one message"),
        (NoMessage(), r"it takes \(\), not exactly one message"),
        (AskHandler(), "it takes Ask; register it for that"),
        (lambda message: message, "it is not async"),
        ("greet", "it is not callable"),
        (None, "it is not callable"),
    ],
)
def test_registry_rejects_a_handler_that_cannot_handle_the_message(
    registry: HandlerRegistry, handler: Any, problem: str
) -> None:
    with pytest.raises(HandlerRegistrationError, match=f"cannot handle Greet: {problem}") as e:
        registry.register_command_handler(Greet, handler)

    assert e.value.message_type == "Greet"
    assert e.value.handler


def test_handler_for_a_base_class_or_a_union_of_messages_is_accepted(
    registry: HandlerRegistry,
) -> None:
    async def either(command: Greet | Ask) -> str:
        return ""

    registry.register_command_handler(GreetPolitely, greet)
    registry.register_command_handler(Greet, either)

    assert registry.get_handler(GreetPolitely).name.endswith("greet")


@pytest.mark.parametrize("message", [Ask, Greeted, int, "Greet", None])
def test_command_handler_can_only_be_registered_for_a_command(
    registry: HandlerRegistry, message: Any
) -> None:
    with pytest.raises(HandlerRegistrationError, match="is not a subclass of Command"):
        registry.register_command_handler(message, greet)


def test_registry_rejects_a_second_handler_for_a_message(registry: HandlerRegistry) -> None:
    registry.register_query_handler(Ask, AskHandler())

    with pytest.raises(
        HandlerAlreadyRegisteredError, match="Ask is already handled by .*AskHandler"
    ) as e:
        registry.register_query_handler(Ask, AskHandler())

    assert isinstance(e.value, ValueError)
    assert "AskHandler" in e.value.handler


def test_error_for_a_message_without_a_handler_lists_registered_messages(
    registry: HandlerRegistry,
) -> None:
    with pytest.raises(HandlerNotRegisteredError, match="there are handlers for nothing"):
        registry.get_handler(Greet)
    registry.register_command_handler(Greet, greet)
    with pytest.raises(HandlerNotRegisteredError, match="handlers for Greet; call") as caught:
        registry.get_handler(GreetPolitely)

    assert caught.value.message_type == "GreetPolitely"


async def test_handlers_of_an_event_and_its_base_class_run_in_registration_order(
    registry: HandlerRegistry,
) -> None:
    seen: list[str] = []

    class First(EventHandler):
        async def handle(self, event: Greeted) -> None:
            seen.append("first")

    async def second(event: Greeted) -> None:
        seen.append("second")

    async def handle_child(event: GreetedPolitely) -> None:
        seen.append("of the child")

    registry.register_event_handler(GreetedPolitely, handle_child)
    registry.register_event_handler(Greeted, First())
    registry.register_event_handler(Greeted, second)
    for event in (Greeted(), GreetedPolitely()):
        for handler in registry.get_event_handlers(type(event)):
            await handler.call(event)

    assert seen == ["first", "second", "of the child", "first", "second"]


def test_event_handler_registered_later_is_found(registry: HandlerRegistry) -> None:
    assert registry.get_event_handlers(Greeted) == ()

    async def late(event: Greeted) -> None: ...

    registry.register_event_handler(Greeted, late)

    assert len(registry.get_event_handlers(Greeted)) == 1


def test_registry_finds_functions_by_module_and_name(registry: HandlerRegistry) -> None:
    @registry.decorator("hall", "greet")
    async def handler(data: dict[str, str]) -> str:
        return data["name"]

    async def other(data: dict[str, str]) -> None: ...

    assert registry.get("hall", "greet") is handler
    assert registry.get("hall", "wave") is None
    for second in (other, handler):
        with pytest.raises(ValueError, match=r"hall.greet is already handled by .*handler"):
            registry.register("hall", "greet", second)


def test_registry_verify_lists_each_message_without_a_handler_or_with_two(
    registry: HandlerRegistry,
) -> None:
    async def handle_by_name(data: dict[str, str]) -> None: ...

    registry.register_command_handler(Greet, greet)
    registry.verify([Greet])
    registry.register("hall", "Greet", handle_by_name)

    with pytest.raises(HandlerRegistrationError) as caught:
        registry.verify([Greet, Ask])

    message = str(caught.value)
    assert "Ask has no handler" in message
    assert "Greet has two handlers: hall.Greet is" in message
    assert "register exactly one handler for each message" in message


def test_registry_verify_without_arguments_checks_every_message_class(
    registry: HandlerRegistry,
) -> None:
    with pytest.raises(HandlerRegistrationError, match="GreetPolitely has no handler"):
        registry.verify()


@pytest.mark.parametrize(
    ("message", "handler", "expected"),
    [
        (Greet, greet, (str,)),
        (Ask, AskHandler(), (str,)),
    ],
)
def test_result_type_of_a_handler_comes_from_the_message_class(
    registry: HandlerRegistry, message: Any, handler: Any, expected: Any
) -> None:
    register = (
        registry.register_command_handler
        if issubclass(message, Command)
        else registry.register_query_handler
    )
    register(message, handler)

    assert registry.get_handler(message).result_types == expected


def test_result_type_of_an_untyped_message_comes_from_the_handler_annotation(
    registry: HandlerRegistry,
) -> None:
    class Plain(Command):
        pass

    class Silent(Command):
        pass

    async def plain(command: Any) -> CommandResponse[int | str]:
        return CommandResponse(1)

    async def silent(command: Any):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return object()

    registry.register_command_handler(Plain, plain)
    registry.register_command_handler(Silent, silent)

    assert registry.get_handler(Plain).result_types == (int, str)
    assert registry.get_handler(Silent).result_types is None
