from __future__ import annotations

from typing import Any

import pytest

from cqrs_ddd_core import AggregateRoot, DomainEvent, when
from cqrs_ddd_core.primitives.exceptions import EventHandlerError


class Opened(DomainEvent):
    owner: str = ""


class Closed(DomainEvent):
    pass


class Reopened(Opened):
    pass


def test_handler_method_named_for_another_event_raises_at_class_definition() -> None:
    with pytest.raises(EventHandlerError, match="rename it, or mark it with @when") as caught:

        class Wrong(AggregateRoot[str]):
            def apply_Opened(self, event: Closed) -> None: ...

    assert (caught.value.aggregate_type, caught.value.handler) == ("Wrong", "apply_Opened")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), r"@when\(\) names no event; write @when\(OrderPlaced\)"),
        ((len,), r"@when\(len\) names no event"),
        (("Opened",), r"@when\(Opened\) names no event"),
        ((Opened, int), r"@when\(Opened, int\) names no event"),
    ],
    ids=["nothing", "method", "text", "another class"],
)
def test_mark_that_names_no_event_is_rejected(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(EventHandlerError, match=message):
        when(*given)


def test_two_handler_methods_for_one_event_are_rejected() -> None:
    with pytest.raises(EventHandlerError, match="both apply Opened; keep one"):

        class Ambiguous(AggregateRoot[str]):
            def apply_Opened(self, event: Opened) -> None: ...

            @when(Opened)
            def on_opening(self, event: Opened) -> None: ...


def test_method_marked_with_when_cannot_replace_an_inherited_handler_method() -> None:
    class Parent(AggregateRoot[str]):
        def apply_Opened(self, event: Opened) -> None: ...

    with pytest.raises(EventHandlerError, match="apply_Opened"):

        class Child(Parent):
            @when(Opened)
            def on_opening(self, event: Opened) -> None: ...


def test_async_handler_method_is_rejected() -> None:
    with pytest.raises(EventHandlerError, match="is not a plain method with one event"):

        class Waiting(AggregateRoot[str]):
            async def apply_Opened(self, event: Opened) -> None: ...


@pytest.mark.parametrize("parameters", ["self", "self, event, more"])
def test_handler_method_must_take_exactly_one_event(parameters: str) -> None:
    names: dict[str, Any] = {}
    exec(f"def apply_Opened({parameters}): ...", names)  # noqa: S102

    with pytest.raises(EventHandlerError, match="write def apply_Opened"):
        type("Wrong", (AggregateRoot[str],), {"apply_Opened": names["apply_Opened"]})


def test_handler_method_for_a_class_that_is_not_an_event_is_rejected() -> None:
    with pytest.raises(EventHandlerError, match="not a DomainEvent named Thing"):

        class Wrong(AggregateRoot[str]):
            def apply_Thing(self, event: int) -> None: ...


def test_unannotated_handler_method_is_matched_by_event_name() -> None:
    class Loose(AggregateRoot[str]):
        opened: bool = False

        def apply_Opened(self, event) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            self.opened = True

    loose = Loose(id="l-1")
    loose.add_event(Opened())

    assert loose.opened


def test_handler_method_for_a_local_event_class_is_found() -> None:
    class Local(DomainEvent):
        pass

    class Owner(AggregateRoot[str]):
        seen: int = 0

        def apply_Local(self, event: Local) -> None:
            self.seen += 1

    owner = Owner(id="o-1")
    owner.add_event(Local())

    assert owner.seen == 1


def test_handler_method_of_an_event_does_not_apply_its_subclasses() -> None:
    class Door(AggregateRoot[str]):
        opened: int = 0

        def apply_Opened(self, event: Opened) -> None:
            self.opened += 1

    door = Door(id="d-1")
    door.add_event(Reopened())

    assert door.opened == 0


def test_method_named_apply_with_a_lower_case_word_is_not_a_handler_method() -> None:
    class Till(AggregateRoot[str]):
        def apply_discount(self, percent: int, reason: str) -> str:
            return f"{percent} % for {reason}"

    assert Till(id="t-1").apply_discount(3, "age") == "3 % for age"


def test_mixin_can_provide_handler_methods() -> None:
    class Openable:
        def apply_Opened(self, event: Opened) -> None:
            self.owner = event.owner

    class Shop(Openable, AggregateRoot[str]):
        owner: str = ""

    shop = Shop(id="s-1")
    shop.add_event(Opened(owner="anna"))

    assert shop.owner == "anna"


def test_handler_methods_are_resolved_once_per_aggregate_class() -> None:
    class Counting(AggregateRoot[str]):
        def apply_Opened(self, event: Opened) -> None: ...

    one, two = Counting(id="1"), Counting(id="2")
    one.add_event(Opened())
    two.add_event(Opened())

    assert Counting.event_handlers[Opened] is Counting.apply_Opened
