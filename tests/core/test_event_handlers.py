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


def test_a_handler_for_an_event_of_another_name_is_refused_when_the_class_is_defined() -> None:
    with pytest.raises(EventHandlerError, match="rename it, or mark it with @when") as caught:

        class Wrong(AggregateRoot[str]):
            def apply_Opened(self, event: Closed) -> None: ...

    assert (caught.value.aggregate_type, caught.value.handler) == ("Wrong", "apply_Opened")


def test_two_handlers_for_one_event_are_refused() -> None:
    with pytest.raises(EventHandlerError, match="both apply Opened; keep one"):

        class Ambiguous(AggregateRoot[str]):
            def apply_Opened(self, event: Opened) -> None: ...

            @when(Opened)
            def on_opening(self, event: Opened) -> None: ...


def test_a_marked_method_in_a_subclass_does_not_hide_an_inherited_handler() -> None:
    class Parent(AggregateRoot[str]):
        def apply_Opened(self, event: Opened) -> None: ...

    with pytest.raises(EventHandlerError, match="apply_Opened"):

        class Child(Parent):
            @when(Opened)
            def on_opening(self, event: Opened) -> None: ...


def test_an_async_handler_is_refused() -> None:
    with pytest.raises(EventHandlerError, match="is not a plain method with one event"):

        class Waiting(AggregateRoot[str]):
            async def apply_Opened(self, event: Opened) -> None: ...


@pytest.mark.parametrize("parameters", ["self", "self, event, more"])
def test_a_handler_takes_one_event(parameters: str) -> None:
    names: dict[str, Any] = {}
    exec(f"def apply_Opened({parameters}): ...", names)  # noqa: S102

    with pytest.raises(EventHandlerError, match="write def apply_Opened"):
        type("Wrong", (AggregateRoot[str],), {"apply_Opened": names["apply_Opened"]})


def test_an_event_that_is_no_event_is_refused() -> None:
    with pytest.raises(EventHandlerError, match="not a DomainEvent named Thing"):

        class Wrong(AggregateRoot[str]):
            def apply_Thing(self, event: int) -> None: ...


def test_an_unannotated_handler_is_found_by_the_name_of_the_event() -> None:
    class Loose(AggregateRoot[str]):
        opened: bool = False

        def apply_Opened(self, event) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            self.opened = True

    loose = Loose(id="l-1")
    loose.add_event(Opened())

    assert loose.opened


def test_a_handler_for_a_local_event_class_is_found() -> None:
    class Local(DomainEvent):
        pass

    class Owner(AggregateRoot[str]):
        seen: int = 0

        def apply_Local(self, event: Local) -> None:
            self.seen += 1

    owner = Owner(id="o-1")
    owner.add_event(Local())

    assert owner.seen == 1


def test_a_handler_of_a_parent_event_does_not_apply_its_children() -> None:
    class Door(AggregateRoot[str]):
        opened: int = 0

        def apply_Opened(self, event: Opened) -> None:
            self.opened += 1

    door = Door(id="d-1")
    door.add_event(Reopened())

    assert door.opened == 0


def test_methods_that_merely_begin_with_apply_are_left_alone() -> None:
    class Till(AggregateRoot[str]):
        def apply_discount(self, percent: int, reason: str) -> str:
            return f"{percent} % for {reason}"

    assert Till(id="t-1").apply_discount(3, "age") == "3 % for age"


def test_a_mixin_may_bring_handlers() -> None:
    class Openable:
        def apply_Opened(self, event: Opened) -> None:
            self.owner = event.owner

    class Shop(Openable, AggregateRoot[str]):
        owner: str = ""

    shop = Shop(id="s-1")
    shop.add_event(Opened(owner="anna"))

    assert shop.owner == "anna"


def test_handlers_are_looked_up_once_for_each_class() -> None:
    class Counting(AggregateRoot[str]):
        def apply_Opened(self, event: Opened) -> None: ...

    one, two = Counting(id="1"), Counting(id="2")
    one.add_event(Opened())
    two.add_event(Opened())

    assert Counting.event_handlers[Opened] is Counting.apply_Opened
